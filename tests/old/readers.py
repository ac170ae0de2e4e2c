"""The programs that leave mail on the server, and know by its unique-id what they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.interop.clients import Clients
from tests.interop.test_fetchmail import NO_MAIL, Fetchmail
from tests.interop.test_mpop import Mpop
from tests.old.front import Front
from tests.old.maildrops import MESSAGES
from tests.old.person import Person
from tests.rawpop3 import RawPOP3

Reader = Callable[[], list[bytes]]
"""Fetches what it does not have, and answers these messages in its own form and order."""


class Keeper:
    """A client as they are written with MailKit: it retrieves what UIDL lists and it does not know, and forgets what is gone."""

    def __init__(self, front: Front, person: Person) -> None:
        self.front = front
        self.person = person
        self.uidls: list[bytes] = []
        """Those of its last session, in the server's order."""

    def __call__(self) -> list[bytes]:
        with RawPOP3(self.front.pop3_port).login(self.person.name, self.person.password) as client:
            rows = client.listing(b"UIDL")
            new = [b"RETR %d" % number for number, uidl in rows if uidl not in set(self.uidls)]
            messages = client.pipeline(new) if new else []
            client.quit()
        self.uidls = [uidl for _, uidl in rows]
        assert len(set(self.uidls)) == len(self.uidls), "two messages have one unique-id"
        return messages


class KeepingFetchmail:
    """fetchmail with ``keep`` and ``uidl``."""

    def __init__(self, clients: Clients, person: Any) -> None:
        self.program = Fetchmail(clients, person)

    def __call__(self) -> list[bytes]:
        # That a maildrop is empty or has nothing new is a status; --all would fetch what it has seen.
        outcome = self.program("--keep", "--uidl", status=None)
        assert outcome.status in (0, NO_MAIL), outcome
        return self.program.got()


class KeepingMpop:
    """mpop with ``keep on``."""

    def __init__(self, clients: Clients, person: Any) -> None:
        self.program = Mpop(clients, person)

    def __call__(self) -> list[bytes]:
        self.program("plain", "--keep=on", "--auth=user")
        return self.program.got()


RETURN_PATH: Final = b"Return-Path: <unknown>\n"
"""What getmail adds to each message."""


AGENT: Final = """
cd "${0%/*}" && echo >> count && cat > got/$(wc -l < count)
until set -- $(sed -n 's/^State:\\t\\(.\\).*/\\1/p; s/^SigCgt:\\t//p' /proc/$PPID/status) && case $1$2 in S*[13579bdf]????) ;; *) ! : ;; esac
do :; done
"""
"""What gets its messages. getmail begins to listen for the end of this process only after it has started it, and waits a minute for one that
has ended before: so it ends once getmail sleeps, and has a handler for SIGCHLD."""


class Getmail:
    """getmail6, which deletes nothing and reads what is new; root may run nothing else for it than a command."""

    def __init__(self, clients: Clients, person: Person) -> None:
        self.clients = clients
        self.folder = clients.folder / "got"
        self.folder.mkdir()
        agent = clients.file("agent", AGENT)
        clients.file(
            "getmailrc",
            "[retriever]\ntype = SimplePOP3Retriever\nserver = localhost\n"
            f"port = {clients.server.pop3_port}\nusername = {person.name}\npassword = {person.password}\n"
            f'[destination]\ntype = MDA_external\npath = /bin/sh\narguments = ("{agent}",)\nallow_root_commands = true\n'
            "[options]\nread_all = false\ndelete = false\ndelivered_to = false\nreceived = false\n",
        )

    def __call__(self) -> list[bytes]:
        self.clients.run("getmail", f"--getmaildir={self.clients.folder}", "--rcfile=getmailrc")
        files = sorted(self.folder.iterdir(), key=lambda path: int(path.name))
        messages = [file.read_bytes().removeprefix(RETURN_PATH) for file in files]
        for file in files:
            file.unlink()
        return messages


PROGRAMS: Final[Mapping[str, Callable[[Clients, Any], Reader]]] = {
    "fetchmail": KeepingFetchmail,
    "mpop": KeepingMpop,
    "getmail": Getmail,
}


def readers(front: Front, person: Person, folder: Path) -> dict[str, Reader]:
    """All of them, each with a home of its own below `folder`."""
    found: dict[str, Reader] = {"keeper": Keeper(front, person)}
    for name, program in PROGRAMS.items():
        home = folder / name
        home.mkdir()
        clients = Clients(front, home)  # type: ignore[arg-type]  # it has the port that they ask for
        clients.seconds += MESSAGES / 5
        found[name] = program(clients, person)
    return found


def fetched(clients: Mapping[str, Reader]) -> list[bytes]:
    """What all of them fetch now, each the same, in the order and the form that they have in common."""
    found = {name: sorted(each.replace(b"\r\n", b"\n") for each in client()) for name, client in clients.items()}
    first = next(iter(found.values()))
    assert found == dict.fromkeys(clients, first), {name: (len(all_), all_[:3]) for name, all_ in found.items()}
    return first
