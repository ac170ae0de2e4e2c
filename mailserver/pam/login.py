"""The answers to requests, each in a process of its own: a login, a user, and whether PAM can work here."""

from __future__ import annotations

import os
from ctypes import POINTER, byref, c_char_p, c_void_p, cast, sizeof
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mailserver.pam.libpam import (
    BUF_ERR,
    CONV_ERR,
    CONVERSE,
    DELAY,
    ECHO_OFF,
    ERROR_MSG,
    ITEM_FAIL_DELAY,
    ITEM_RHOST,
    ITEM_TTY,
    ITEM_USER,
    MAX_MESSAGES,
    REFUSALS,
    SILENT_AND_NOT_EMPTY,
    SUCCESS,
    TEXT_INFO,
    UNKNOWN,
    Conversation,
    Libraries,
    Reply,
    Trouble,
)

PROMPTS: Final = 4
"""How often one login may ask for the password. A stack of modules may each ask; one that loops must not do so for ever."""

TTY: Final = b"mailserver"
"""Some modules refuse a login without a terminal's name (pam_time, pam_access)."""

NO_ENTRY: Final = "the system's list of users has no such name"
"""The hint for the log, because modules do not say whether a user exists."""

Entry = tuple[int, bytes, bytes]
"""What `Libraries.entry` answers."""

FOLDERS: Final = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/etc/pam.d")
"""Where libpam looks for a service's file; distributions have it look at one or two of them."""


@dataclass
class Policy:
    """What the arguments say."""

    service: str
    folder: str
    min_uid: int
    lines: int

    @property
    def files(self) -> list[Path]:
        """Where the service's file may be."""
        return [Path(folder, self.service) for folder in ([self.folder] if self.folder else FOLDERS)]

    def problem(self) -> str:
        """Why PAM would refuse everybody: without the service's file it takes that of `other`, which does."""
        if any(map(Path.exists, self.files)) or (not self.folder and not Path(FOLDERS[0]).is_dir()):  # else pam.conf
            return ""
        return f"there is no {self.files[0]}, so PAM would refuse everybody: create it (docs/users-pam.md has one)"


@dataclass
class Talk:
    """What PAM's modules ask for during a login, and its answers."""

    libraries: Libraries
    password: bytes
    prompts: int = 0
    delay: float = 0.0
    """The seconds for which modules want a refusal to be held back. The server waits, and not a process."""

    def converse(self, count: int, messages: Any, replies: Any, _data: object) -> int:
        """PAM's conversation: only prompts for a secret are answered, and messages left unread."""
        if not 0 < count <= MAX_MESSAGES:
            return CONV_ERR
        made = self.libraries.c.calloc(count, sizeof(Reply))
        if not made:
            return BUF_ERR
        reply = cast(made, POINTER(Reply))
        for index in range(count):
            style = messages[index].contents.style
            if style == ECHO_OFF and self.prompts < PROMPTS:
                self.prompts += 1
                reply[index].text = self.libraries.c.strdup(self.password)
            elif style not in {ERROR_MSG, TEXT_INFO}:
                return CONV_ERR  # what was allocated ends with this process
        replies[0] = reply
        return SUCCESS

    def held_back(self, code: int, microseconds: int, _data: object) -> None:
        """PAM_FAIL_DELAY: called in place of a sleep."""
        if code != SUCCESS:
            self.delay = microseconds / 1_000_000


@dataclass
class Login:
    """One login, in a process of its own."""

    libraries: Libraries
    policy: Policy
    name: bytes
    password: bytes
    peer: str

    def answer(self) -> dict[str, Any]:
        """Ask PAM. Errors: Trouble.

        Names of users who are not for mail take the same work, with a password that nobody has typed: nobody can guess at root's here.
        """
        entry = self.libraries.entry(self.name)
        barred = barred_by(self.name, entry, self.policy)
        talk = Talk(self.libraries, os.urandom(16).hex().encode() if barred else self.password)
        call, code, user = self._ask(talk)
        if code in REFUSALS:
            known = False if barred or (code == UNKNOWN and entry is None) else None if entry is None else True
            hint = "" if entry is not None else NO_ENTRY
            return refused(barred or self._reason(call, code), known=known, hint=hint, delay=talk.delay)
        if code != SUCCESS:
            raise Trouble(f"{call}: {self.libraries.text(code)}")
        if not talk.prompts:
            return refused("PAM did not ask for the password, so any would do", known=True)
        if user != self.name:
            entry = self.libraries.entry(user)
            barred = barred_by(user, entry, self.policy)
        if barred:
            return refused(barred, known=False)
        return {"verdict": "taken", **told(user, entry)}

    def _reason(self, call: str, code: int) -> str:
        return f"{REFUSALS[code]}, says PAM ({call}: {self.libraries.text(code)})"

    def _ask(self, talk: Talk) -> tuple[str, int, bytes]:
        """The last call, its result, and the user's name as PAM has it."""
        c = self.libraries.c
        conversation = Conversation(CONVERSE(talk.converse), None)
        delay = DELAY(talk.held_back)
        handle = self.libraries.start(self.policy.service, self.policy.folder, self.name, conversation)
        c.pam_set_item(handle, ITEM_FAIL_DELAY, cast(delay, c_void_p))
        c.pam_set_item(handle, ITEM_TTY, cast(c_char_p(TTY), c_void_p))
        if self.peer:
            c.pam_set_item(handle, ITEM_RHOST, cast(c_char_p(self.peer.encode()), c_void_p))
        call, code = "pam_authenticate", c.pam_authenticate(handle, SILENT_AND_NOT_EMPTY)
        if code == SUCCESS:
            call, code = "pam_acct_mgmt", c.pam_acct_mgmt(handle, SILENT_AND_NOT_EMPTY)
        user = c_char_p()
        c.pam_get_item(handle, ITEM_USER, byref(user))
        name = user.value or b""  # before `pam_end`, which frees it
        c.pam_end(handle, code)
        return call, code, name


def refused(reason: str, *, known: bool | None, hint: str = "", delay: float = 0.0) -> dict[str, Any]:
    """A refusal, as the answer has it: `errors.LoginRefused`, and how long it is to be held back."""
    return {"verdict": "refused", "reason": reason, "known": known, "hint": hint, "delay": delay}


def barred_by(name: bytes, entry: Entry | None, policy: Policy) -> str:
    """Why a user may have no mail here by this name, for the log; "": nothing of the kind. Never may root.

    SSSD and winbind may find a user whatever the capitals, who then would have many names, and as many maildrops and guesses.
    """
    if entry is None:
        return ""
    uid, _, own = entry
    if uid < max(policy.min_uid, 1):
        return f"uid {uid} is not for mail" if uid == 0 else f"uid {uid} is below min_uid={policy.min_uid}"
    known, typed = text(own), text(name)
    same = known != typed and known.casefold() == typed.casefold()
    return f'{known!a} is known; capitals matter unless names.case is "lower"' if same else ""


def told(user: bytes, entry: Entry | None) -> dict[str, Any]:
    """A user, as the answer has it; a user whom only PAM knows has no home."""
    return {"user": text(user), "home": text(entry[1]) if entry else ""}


def text(octets: bytes) -> str:
    """Octets as JSON can hold them, whatever they are."""
    return octets.decode("utf-8", "surrogateescape")


def octets(written: str) -> bytes:
    """The octets that `text` has written."""
    return written.encode("utf-8", "surrogateescape")


def answer(request: dict[str, Any], policy: Policy, libraries: Libraries | str) -> dict[str, Any]:
    """The answer to a request, in a child. Errors: Trouble."""
    problem = libraries if isinstance(libraries, str) else policy.problem()
    if request["ask"] == "check":
        return {"verdict": "checked", "problem": problem, "uid": os.geteuid()}
    if problem or isinstance(libraries, str):
        raise Trouble(problem)
    name = octets(request["name"])
    if request["ask"] == "login":
        return Login(libraries, policy, name, octets(request["password"]), request["peer"]).answer()
    entry = libraries.entry(name)
    barred = barred_by(name, entry, policy)
    return (
        {"verdict": "unknown", "reason": barred}
        if entry is None or barred
        else {"verdict": "taken", **told(name, entry)}
    )
