"""docs/protocols.md names every command of LMTP, in the states where it works, and every extension."""

import re
from pathlib import Path

import pytest

from mailserver.protocol import lmtp, lmtp_paths
from mailserver.protocol.lmtp_commands import COMMANDS, SIZE_DIGITS, http
from mailserver.protocol.lmtp_policy import LmtpPolicy
from mailserver.protocol.lmtp_state import State
from tests.protocol.lmtp_world import Settings, World

PAGE = (Path(__file__).parents[2] / "docs/protocols.md").read_text("utf-8")
SECTION = PAGE.partition("\n## LMTP\n")[2].partition("\n## ")[0]
COLUMNS = {State.CONNECTED: 1, State.READY: 2, State.ENVELOPE: 3, State.CHUNKS: 4}
BEFORE = {
    State.CONNECTED: b"",
    State.READY: b"LHLO x\r\n",
    State.ENVELOPE: b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob>\r\n",
    State.CHUNKS: b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob>\r\nBDAT 0\r\n",
}
EXAMPLES = {
    "LHLO": b"LHLO x",
    "MAIL": b"MAIL FROM:<a@b> SIZE=1 BODY=7BIT SMTPUTF8",
    "RCPT": b"RCPT TO:<bob> ORCPT=rfc822;bob",
    "BDAT": b"BDAT 0 LAST",
    "XCLIENT": b"XCLIENT ADDR=192.0.2.1",
    "NOOP": b"NOOP text",
    "VRFY": b"VRFY bob",
    "HELP": b"HELP text",
}


def rows(heading):
    """The cells of the first table below a heading."""
    table = re.search(r"^\|.*?(?=\n\n|\Z)", SECTION.partition(f"\n### {heading}\n")[2], re.DOTALL | re.MULTILINE)
    assert table
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def words(text):
    """What stands in code: the first words alone."""
    return [name.split(" ")[0] for name in re.findall(r"`([^`]+)`", text)]


def test_every_command_is_there():
    refused = re.search(r"^`HELO`.*$", SECTION, re.MULTILINE)
    assert refused
    verbs = {
        verb.decode() for verb, command in COMMANDS.tables[State.CONNECTED].items() if command.function is not http
    }
    assert {verb for row in rows("LMTP's commands") for verb in words(row[0])} | set(words(refused[0])) == verbs


@pytest.mark.parametrize("state", COLUMNS, ids=lambda state: state.name)
@pytest.mark.parametrize("row", rows("LMTP's commands"), ids=lambda row: words(row[0])[0])
def test_each_command_works_in_the_states_where_the_page_says_so_and_in_no_other(row, state):
    world = World(Settings(LmtpPolicy(stls=True, xclient=True)))
    world.send(BEFORE[state])
    assert world.session.state is state
    verb = words(row[0])[0]
    cell = row[COLUMNS[state]]
    output = world.send(EXAMPLES.get(verb, verb.encode()) + b"\r\n")
    assert output.startswith(b"503") is (cell == "" or "503" in cell)


def test_every_extension_is_there():
    world = World(Settings(LmtpPolicy(stls=True, xclient=True)))
    world.run()
    lines = world.send(b"LHLO x\r\n").splitlines()[1:]
    table = [cell for row in rows("Extensions that LHLO announces") for cell in re.findall(r"`([^`]+)`", row[0])]
    assert {line[4:].decode().split(" ")[0] for line in lines} == {name.split(" ")[0] for name in table}
    assert f"`{next(line for line in lines if b'XCLIENT' in line)[4:].decode()}`" in SECTION


def test_the_limits_are_those_of_the_code():
    assert f"| {lmtp.COMMAND_LIMIT} octets" in SECTION
    assert f"may have {lmtp_paths.PATH_LIMIT} octets" in SECTION
    assert f"more than {SIZE_DIGITS} digits" in SECTION
    assert f"| bad commands in a row | {LmtpPolicy().bad_commands} |" in SECTION
