"""A TOML table as a dataclass: what fits is a value, and all that does not is told, each with its line."""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mailserver.errors import Unusable
from mailserver.toml import Network, above, at_least, dotted, fit, near_miss, plain, read
from mailserver.toml_text import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    octets: int = at_least(0, default=0)
    messages: int | None = None
    over: Literal["refuse", "warn"] = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    sql: str = ""
    keep: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    url: str = field(default="", repr=False)
    timeout_seconds: float = above(0, default=5)
    threads: int = at_least(1, default=4, at_most=64)
    days: tuple[int, ...] = field(default=(), metadata={"minimum": 1})
    near: Network | None = None
    proxies: tuple[Network, ...] = ()
    kinds: tuple[Literal["users", "aliases"], ...] = ("users",)
    aliases: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    quota: Mapping[str, Quota] = field(default_factory=dict)
    query: Query = field(default_factory=Query)
    hosts: tuple[Query, ...] = ()
    made: str = field(default="here", metadata={"setting": False})


EVERYTHING = """
url = "sql:mail"
timeout_seconds = 0.5
threads = 64
days = [1, 7]
near = "10.0.0.0/8"
proxies = ["10.0.0.0/8", "fd00::/8"]
kinds = ["aliases"]
aliases = { postmaster = "alice" }
groups = { staff = ["alice", "bob"] }
weights.a = 3
[quota.small]
octets = 1000
[quota."the others"]
messages = 7
over = "warn"
[query]
sql = "SELECT 1"
[[hosts]]
sql = "a"
[[hosts]]
keep = false
"""


@pytest.fixture
def told(tmp_path):
    """What is wrong with a text, a line each."""

    def told(text, contradictions=lambda _: ()):
        path = tmp_path / "sql.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(Unusable) as caught:
            read(str(path), Settings, contradictions)
        return [problem.replace(str(path), "FILE") for problem in caught.value.problems]

    return told


def test_every_type_of_a_field_is_read(tmp_path):
    (tmp_path / "sql.toml").write_text(EVERYTHING)
    assert read(str(tmp_path / "sql.toml"), Settings) == Settings(
        url="sql:mail",
        timeout_seconds=0.5,
        threads=64,
        days=(1, 7),
        near=ip_network("10.0.0.0/8"),
        proxies=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
        kinds=("aliases",),
        aliases={"postmaster": "alice"},
        groups={"staff": ("alice", "bob")},
        weights={"a": 3},
        quota={"small": Quota(octets=1000), "the others": Quota(messages=7, over="warn")},
        query=Query(sql="SELECT 1"),
        hosts=(Query(sql="a"), Query(keep=False)),
    )


@pytest.mark.parametrize("text", ["", EVERYTHING])
def test_what_was_read_survives_the_way_as_json(text):
    value = fit(Settings, tomllib.loads(text)).value
    given = json.loads(json.dumps(plain(value)))
    del given["made"]
    assert fit(Settings, given).value == value


def test_all_that_does_not_fit_is_told_in_one_run_each_with_its_line(told):
    assert told("""urll = "sql:mail"
timeout_seconds = 0
threads = 65
days = [1, 0, 2.5]
near = "10.0.0.1/8"
proxies = [
    "10.0.0.1/8",
    7,
]
kinds = ["users", "alias"]
aliases = { a = 3 }
groups = ["staff"]
weights = { heavy = 1.5 }
hosts = [3]
made = "there"
""") == [
        'FILE:1: unknown setting "urll"; did you mean "url"?',
        "FILE:2: timeout_seconds must be a number above 0",
        "FILE:3: threads must be a whole number of at least 1 and at most 64",
        "FILE:4: days must be a whole number of at least 1",
        'FILE:5: near holds "10.0.0.1/8", which is no network such as 192.0.2.0/24',
        'FILE:6: proxies holds "10.0.0.1/8", which is no network such as 192.0.2.0/24',
        "FILE:6: proxies must be a string, in quotes",
        "FILE:10: kinds must be a list out of users, aliases",
        'FILE:11: aliases must be a table of strings, as in { name = "value" }',
        'FILE:12: groups must be a table of arrays of strings, as in { name = ["value"] }',
        "FILE:13: weights.heavy must be a whole number",
        "FILE:14: hosts must be a table, as in [[hosts]]",
        'FILE:15: unknown setting "made"',
    ]


def test_each_of_the_named_tables_is_told_of_by_its_name_and_line(told):
    assert told("""[quota.small]
octets = -1
[quota.large]
octet = 3
over = "wrn"
[quota]
medium = 7
[query]
keep = "yes"
[[hosts]]
[[hosts]]
sqll = ""
""") == [
        "FILE:2: quota.small.octets must be a whole number of at least 0",
        'FILE:4: unknown setting "quota.large.octet"; did you mean "octets"?',
        'FILE:5: quota.large.over must be one of refuse, warn; did you mean "warn"?',
        "FILE:7: quota.medium must be a table, as in [quota.medium]",
        "FILE:9: query.keep must be true or false",
        'FILE:12: unknown setting "hosts.sqll"; did you mean "sql"?',
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("quota = 3", "FILE:1: quota must be a table, as in [quota.NAME]"),
        ("weights = 3", "FILE:1: weights must be a table, as in [weights]"),
        ("query = 3", "FILE:1: query must be a table, as in [query]"),
        ("hosts = 3", "FILE:1: hosts must be an array, as in [...]"),
        ("\n[a.b.c]\nd = 1", 'FILE:2: unknown setting "a"'),
        ("\na.b.c = 1", 'FILE:2: unknown setting "a"'),
        ("\nquery.sqll.x = 1", 'FILE:2: unknown setting "query.sqll"; did you mean "sql"?'),
        ('"a\\nb" = 1', 'FILE:1: unknown setting "a\\nb"'),
        ('near = "a\\nb"', 'FILE:1: near holds "a\\nb", which is no network such as 192.0.2.0/24'),
        ("timeout_seconds = nan", "FILE:1: timeout_seconds must be a number above 0"),
        (f"threads = 1{'0' * 400}", "FILE:1: threads must be a whole number of at least 1 and at most 64"),
        (f"timeout_seconds = 1{'0' * 400}", "FILE:1: timeout_seconds must be a number above 0"),
        ("timeout_seconds = inf", "FILE:1: timeout_seconds must be a number above 0"),
        ("timeout_seconds = true", "FILE:1: timeout_seconds must be a number above 0"),
        ("url = 1979-05-27", "FILE:1: url must be a string, in quotes"),
    ],
)
def test_an_odd_value_is_told_in_one_line(told, text, problem):
    assert told(text) == [problem]


def test_contradictions_are_sought_where_all_else_fits(told):
    def contradictions(settings):
        if not settings.url:
            yield (), "there is no database"
        if settings.quota:
            yield ("quota", "small"), "this is too small"
            yield ("query", "sql"), "nobody asks"

    text = "[query]\nkeep = true\n[quota.small]\n"
    assert told(text, contradictions) == [
        "FILE: there is no database",
        "FILE:3: this is too small",
        "FILE:1: nobody asks",
    ]
    assert told(f"threads = 0\n{text}", contradictions) == [
        "FILE:1: threads must be a whole number of at least 1 and at most 64"
    ]


def test_what_was_perhaps_meant_otherwise_is_unsound():
    fitted = fit(Settings, {"threads": 0, "query": {"sqll": "x", "keep": False}, "quota": {"small": {"octets": ""}}})
    assert fitted.unsound == {("threads",), ("query", "sqll"), ("query", "sql"), ("quota", "small", "octets")}
    assert fitted.value == Settings(query=Query(keep=False), quota={"small": Quota()})


@pytest.mark.parametrize(
    ("name", "known", "end"),
    [
        ("urll", ["url", "threads"], '; did you mean "url"?'),
        ("kind", ["x", "kinds", "kinder"], '; did you mean "kinds"?'),
        ("zzz", ["url"], ""),
        ("url", [], ""),
    ],
)
def test_a_near_miss_is_the_one_that_was_probably_meant(name, known, end):
    assert near_miss(name, iter(known)) == end


def test_a_name_is_dotted_without_indices():
    assert dotted(("hosts", 3, "sql")) == "hosts.sql"


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ('a = """\nb = 1\n[c]\n"""\nb = 2', ("b",), 5),
        ("a = '''\nb = 1'''\nb = 2", ("b",), 3),
        ('a = """x""""" # """\nb = 2', ("b",), 2),
        ('a = "\\"" # [ "\nb = 2', ("b",), 2),
        ("a = [\n  [1],\n  [2], # ]\n]\nb = 2", ("b",), 5),
        ("a = [\n  '[',\n]\nb = 2", ("b",), 4),
        ("\n \"a\\u002Eb\" . 'c' = 1", ("a.b", "c"), 2),
        ('[x."y.z"]\n\n[ x . w ]\nb = 1', ("x", "w", "b"), 4),
        ("[[x]]\n[[x.y]]\n[[x.y]]\n[[x]]\n[[x.y]]\nz = 1", ("x", 1, "y", 0, "z"), 6),
        ("[[x]]\n[[x.y]]\n[[x.y]]\n[[x]]\n[[x.y]]\nz = 1", ("x", 0, "y", 1), 3),
        ("[[x]]\n[x.w]\nz = 1", ("x", 0, "w", "z"), 3),
        ("x.y = { z = 1 }", ("x", "y"), 1),
        ("a = 1\r\nb = 2", ("b",), 2),
        ("a = '\u2028'\nb = 2", ("b",), 2),
    ],
)
def test_a_setting_is_found_in_its_line(text, key, line):
    tomllib.loads(text)
    assert Document.parse(text, "FILE").places[key] == f"FILE:{line}"


def test_what_is_given_elsewhere_is_laid_over_the_text_and_has_its_own_place():
    document = Document.parse("url = 1\n[query]\nsql = 1\n", "FILE")
    for key, value in {("url",): "a", ("query", "keep"): 2, ("quota", "small", "octets"): -1}.items():
        document.lay_over(key, value, f"--{key[-1]}")
    fitted = fit(Settings, document.data)
    assert [document.place(key, given=True) for key, _ in fitted.misfits] == ["FILE:3", "--keep", "--octets"]
    assert document.place(("query", "keep", 0)) == "--keep"
    document.lay_over(("url", "port"), 3, "--port")
    assert document.data["url"] == "a"
    assert document.place(("url", "port")) == "--url"


NAME = st.sampled_from(
    [*Settings.__dataclass_fields__, "octets", "small", "sql", "keep", "sqll", "a.b", "a\nb", '"', ""]
)
VALUE = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["users", "warn", "10.0.0.0/8"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=3),
    max_leaves=6,
)


def written(value, multiline):
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(name, False)} = {written(each, False)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        comma = ",\n" if multiline else ", "
        return "[" + comma.join(written(each, multiline) for each in value) + "]"
    if isinstance(value, str):
        text = "".join(
            f"\\u{ord(c):04x}" if c in '"\\' or (not c.isprintable() and ord(c) < 0x10000) else c for c in value
        )
        return f'"{text}"' if not multiline else f'"""\n{text}"""'
    return repr(value)


@st.composite
def texts(draw):
    """A TOML text of any settings, with the lines of its top-level settings and tables."""
    lines = []
    for name, value in draw(st.dictionaries(NAME, VALUE, max_size=5)).items():
        lines += ["# [x]"] * draw(st.integers(0, 2))
        shown = written(name, False)
        if isinstance(value, dict) and draw(st.booleans()):
            lines += [f"[{shown}]", *(f"{written(each, False)} = {written(it, True)}" for each, it in value.items())]
        elif isinstance(value, list) and value and all(isinstance(it, dict) for it in value) and draw(st.booleans()):
            for item in value:
                lines += [
                    f"[[{shown}]]",
                    *(f"{written(each, False)} = {written(it, True)}" for each, it in item.items()),
                ]
        else:
            lines.insert(0, f"{shown} = {written(value, draw(st.booleans()))}")
    return "\n".join(lines)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts())
def test_any_settings_are_a_value_or_told_each_with_a_line_that_names_it(tmp_path, text):
    path = tmp_path / "any.toml"
    path.write_text(text, encoding="utf-8", newline="\n")
    data = tomllib.loads(text)
    fitted = fit(Settings, data)
    try:
        value = read(str(path), Settings)
    except Unusable as error:
        assert fitted.misfits
        for problem in error.problems:
            assert re.match(rf"{re.escape(str(path))}:[1-9][0-9]*: ", problem), problem
    else:
        assert fitted.misfits == ()
        assert fit(Settings, {name: each for name, each in plain(value).items() if name != "made"}).value == value
    document = Document.parse(text, "FILE")
    lines = text.split("\n")
    for key, place in document.places.items():
        found = data
        for part in key:
            found = found[part]  # every key is one of the text
        if isinstance(key[-1], str):
            assert written(key[-1], False) in lines[int(place.partition(":")[2]) - 1]


def parsed(text):
    """The document, or what is wrong with it."""
    try:
        return Document.parse(text, "FILE")
    except Unusable as error:
        return error


@given(st.text(st.sampled_from("[]{}=.,\"'\\\n# abcdef01:-_"), max_size=60) | st.text(max_size=40))
@example("[" * 5000)
@example("a = " + "[" * 5000)
@example("threads = 1" + "0" * 5000)
@example("\0")
@example("")
@example('"""')
def test_any_text_is_a_document_or_told_in_one_line(text):
    document = parsed(text)
    if isinstance(document, Unusable):
        assert len(document.problems) == 1
        assert re.match(r"FILE:[1-9][0-9]*: this is not TOML: |FILE: this is not TOML that", str(document))
        return
    numbers = [int(place.partition(":")[2]) for place in document.places.values()]
    assert all(1 <= line <= text.count("\n") + 1 for line in numbers)
    fitted = fit(Settings, document.data)
    assert all(re.match(r"FILE:[0-9]+", document.place(key, given=True)) for key, _ in fitted.misfits)


@given(st.integers(0, 60), st.sampled_from(["", '"', "'", "[", "= =", "\\x", "]"]))
def test_a_broken_text_is_told_without_its_secrets(length, rest):
    text = 'url = "sql:wonderland"\nclient_secret = "wonderland"\n'[:length] + rest
    document = parsed(text)
    if isinstance(document, Unusable):
        assert "wonder" not in str(document)


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(Unusable, match="cannot be read: No such file"):
        read(str(tmp_path / "none"), Settings)
    (tmp_path / "latin").write_bytes(b"url = '\xe9'")
    with pytest.raises(Unusable, match="latin: is not UTF-8"):
        read(str(tmp_path / "latin"), Settings)


def test_no_other_room_reads_toml():
    package = Path(__file__).parent.parent / "mailserver"
    readers = [path for path in package.rglob("*.py") if re.search(r"\btomllib\.load|import tomllib", path.read_text())]
    # A delivery from a pipe wants one setting, in milliseconds: `toml_text` stands on what imports Twisted.
    assert sorted(readers) == [package / "cli/places.py", package / "toml_text.py"]


def test_a_field_of_a_type_that_no_setting_has_is_a_fault():
    @dataclass(frozen=True)
    class Odd:
        odd: complex = 0j

    with pytest.raises(KeyError):
        fit(Odd, {"odd": 3})
