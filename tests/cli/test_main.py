"""The command ``mailserver``: its exit statuses, what it loads, and that its page says the same as its help."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

import mailserver
from mailserver import sasl
from mailserver.cli import completion, group
from mailserver.cli.explain import MECHANISMS
from tests.cli.running import run

PAGE = Path(__file__).parents[2] / "docs/commands.md"
BLOCKS = re.findall(r"(?m)^## (mailserver.*)\n\n```text\n((?:.*\n)*?)```", PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[command for command, _ in BLOCKS])
def test_the_page_has_the_help_of_each_command(command, shown):
    told = run(*command.split()[1:], "--help")
    assert told.returncode == 0
    assert shown == told.stdout.decode(), "the text above belongs into the page"


def leaves(command, path):
    """The commands that do something, by their words."""
    if not isinstance(command, click.Group):
        return {path}
    context = click.Context(command)
    names = command.list_commands(context)
    return set().union(*(leaves(command.get_command(context, name), f"{path} {name}") for name in names))


def test_the_page_has_all_commands():
    assert set(dict(BLOCKS)) == {"mailserver"} | leaves(group.mailserver, "mailserver")


def test_each_command_answers_programs_but_those_that_answer_nothing():
    without = {command for command, text in BLOCKS if "  --json " not in text}
    assert without == {"mailserver", "mailserver completion", "mailserver deliver"}


def test_it_tells_its_version():
    assert run("--version").stdout == f"mailserver {mailserver.__version__}\n".encode()


def test_a_wrong_command_line_is_64():
    for arguments in (["delivr"], ["completion", "csh"], ["--nonsense"]):
        told = run(*arguments)
        assert told.returncode == os.EX_USAGE
        assert b"Usage: mailserver" in told.stderr
        assert told.stdout == b""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_s_script_completes_the_commands(shell):
    told = run("completion", shell)
    assert b"_MAILSERVER_COMPLETE=%b_complete" % shell.encode() in told.stdout
    words = run(
        _MAILSERVER_COMPLETE=f"{shell}_complete",
        COMP_WORDS="mailserver del",
        COMP_CWORD="del" if shell == "fish" else "1",
    )
    assert b"deliver" in words.stdout
    assert words.returncode == 0


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("explain --listener pop", ["pop3", "pop3s"]),
        ("explain --listener ", ["pop3", "pop3s", "kpop"]),
        ("explain --mechanism scram-sha-2", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]),
        ("login --listener ", ["pop3", "pop3s"]),
    ],
)
def test_a_shell_completes_listeners_and_mechanisms(words, completed):
    *before, typed = words.split(" ")
    shell = completion.SHELLS["bash"](group.mailserver, {}, "mailserver", "_MAILSERVER_COMPLETE")
    assert [each.value for each in shell.get_completions(before, typed)] == completed


def test_the_mechanisms_that_a_shell_completes_are_those_that_there_are():
    there = (each.name.decode() for each in (*sasl.MECHANISMS, *sasl.BY_NAME))
    assert list(MECHANISMS) == ["USER", "APOP", *there]


BASH = """
compopt() { echo "$2"; }
. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mailserver_completion mailserver
printf '%s\n' "${COMPREPLY[@]}"
"""
ZSH = """
compdef() { }
compadd() { print -rl -- ${(P)@[-1]} }
_describe() { print -rl -- ${(P)3} }
_path_files() { print default }
. "$1"; shift; words=("$@"); CURRENT=$#; _mailserver_completion
"""
FISH = """
source $argv[1]
complete -C (string join -- " " $argv[2..])
"""


@pytest.mark.parametrize(
    ("shell", "program", "expected"),
    [
        ("bash", [BASH, "bash"], "show\n"),
        ("zsh", [ZSH, "zsh"], "show:Show the header of a message, or the whole of it.\n"),
        ("fish", [FISH], "show\tShow the header of a message, or the whole of it.\n"),
    ],
)
def test_a_shell_completes_commands_and_files_by_its_script(shell, program, expected, tmp_path):
    """What the program answers is asked before, and not by the shell, for whom it would start each time."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script, stub, answer = (tmp_path / name for name in ("script", "mailserver", "answer"))
    script.write_bytes(run("completion", shell).stdout)
    stub.write_text(f"#!/bin/sh\ncat {answer}\n")
    stub.chmod(0o755)
    plain = ["--no-config"] if shell == "fish" else ["-f"] if shell == "zsh" else []
    file = f"{answer}\n" if shell == "fish" else "default\n"
    for words, complete in (
        (["mailserver", "maildrop", "sho"], expected),
        (["mailserver", "status", "--socket", f"{tmp_path}/ans"], file),
    ):
        asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1)}
        answer.write_bytes(run(_MAILSERVER_COMPLETE=f"{shell}_complete", **asked).stdout)
        told = subprocess.run(
            [shell, *plain, "-c", *program, script, *words],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert (told.stdout.strip("\n") + "\n", told.stderr) == (complete, "")


WITHOUT_CLICK = """
import sys
sys.modules["click"] = None
from mailserver.cli.main import main
main()
"""


@pytest.mark.parametrize(("command", "status"), [("completion", os.EX_UNAVAILABLE), ("deliver", os.EX_TEMPFAIL)])
def test_without_click_it_says_how_to_get_it(command, status):
    told = run(command, "alice", command=[sys.executable, "-P", "-c", WITHOUT_CLICK])
    assert told.returncode == status
    assert told.stderr.endswith(b'click is not installed: pip install "twisted-mailserver[cli]"\n')


FAULT = """
from mailserver.cli import group, main
group.import_module = None
main.main()
"""


@pytest.mark.parametrize(("command", "status"), [("completion", os.EX_SOFTWARE), ("deliver", os.EX_TEMPFAIL)])
def test_a_fault_of_ours_is_never_an_answer_and_bounces_no_mail(command, status):
    told = run(command, "alice", command=[sys.executable, "-P", "-c", FAULT])
    assert told.returncode == status
    assert (b"Traceback" in told.stderr) == (command != "deliver")
    assert b"TypeError" in told.stderr
