"""What regular expressions may have: before Python 3.11.5, possessive groups match what they should not (CPython gh-106052)."""

import ast
import re
from pathlib import Path

import pytest

import mailserver

PACKAGE = Path(mailserver.__file__).parent

PLAIN = re.compile(rb"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
"""An escaped character, or a class: what looks like a quantifier there is none."""

POSSESSIVE = re.compile(rb"[*+?}]\+|\(\?>")


def patterns(path):
    """The texts in the file that are given to a function of `re`, or make such a text by %, and their lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re.")) or (
            isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod)
        ):
            yield from texts(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            yield from texts(node.value)


def texts(node):
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, bytes | str):
            yield each.lineno, each.value if isinstance(each.value, bytes) else each.value.encode()


def is_possessive(pattern):
    return POSSESSIVE.search(PLAIN.sub(b"x", pattern)) is not None


@pytest.mark.parametrize("pattern", [b"a*+b", b"(?:ab)++", b"a?+", b"a{2,3}+", b"(?>a)", rb"\++x*+"])
def test_a_possessive_quantifier_is_found(pattern):
    assert is_possessive(pattern)


@pytest.mark.parametrize("pattern", [rb"\*+", b"[*+]+", b"[]*+]+", rb"[\]*+]", b"a+b*", b"(?:a|b)?"])
def test_nothing_else_is_taken_for_one(pattern):
    assert not is_possessive(pattern)


def test_no_pattern_is_possessive():
    found = {
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in PACKAGE.rglob("*.py")
        for line, text in patterns(path)
        if is_possessive(text)
    }
    assert found == set()
