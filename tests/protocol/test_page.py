"""docs/protocols.md names every command, in the states where it works, and every mechanism and capability."""

import re
from pathlib import Path

from mailserver.protocol.effects import State
from mailserver.protocol.pop3 import Policy, Session
from mailserver.protocol.pop3_commands import COMMANDS, http
from tests.protocol.world import MECHANISMS

PAGE = (Path(__file__).parents[2] / "docs/protocols.md").read_text("utf-8")


def rows(heading):
    """The cells of the first table below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = re.search(r"^\|.*?(?=\n\n|\Z)", section, re.DOTALL | re.MULTILINE)
    assert table
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def words(cell):
    """What stands in code: the first words alone."""
    return {name.split(" ")[0] for name in re.findall(r"`([^`]+)`", cell)}


def test_the_table_of_commands_is_that_of_the_code():
    for state, column in ((State.AUTHORIZATION, 1), (State.TRANSACTION, 2)):
        verbs = {verb.decode() for verb, command in COMMANDS.tables[state].items() if command.function is not http}
        assert {name for row in rows("Commands") if row[column] for name in words(row[0])} == verbs


def test_every_mechanism_is_there():
    assert {mechanism.name.decode() for mechanism in MECHANISMS} <= {
        name for row in rows("SASL mechanisms") for name in words(row[0])
    }


def test_every_capability_is_there():
    policy = Policy(stls=True, cleartext=True, sdps=True, mechanisms=MECHANISMS, login_delay=1, expire_days=1)
    session = Session(policy, COMMANDS)
    session.feed(b"CAPA\r\n")
    session.next()
    announced = {line.split(b" ")[0].decode() for line in b"".join(session.take()).split(b"\r\n")[2:-2]}
    assert announced | {"IMPLEMENTATION"} == {name for row in rows("Capabilities") for name in words(row[0])}
