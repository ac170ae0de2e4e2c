"""libpam and getpwnam by ctypes: the few calls of a login, and the structures that they take."""

from __future__ import annotations

import ctypes
import os
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_size_t, c_uint, c_void_p
from errno import ENOENT, ERANGE, ESRCH
from typing import Final

# Linux-PAM's numbers (security/_pam_types.h). A test compares them with its texts.
SUCCESS, BUF_ERR, CONV_ERR = 0, 5, 19
UNKNOWN: Final = 10
REFUSALS: Final = {
    6: "permission denied",
    7: "wrong password",
    UNKNOWN: "unknown user",
    11: "too many tries",
    12: "the password must be changed",
    13: "the account has expired",
    16: "the credentials have expired",
    27: "the password has expired",
}
"""The results that say something of the user; all others say that PAM cannot tell."""
ITEM_USER, ITEM_TTY, ITEM_RHOST, ITEM_FAIL_DELAY = 2, 3, 4, 10
ECHO_OFF, ERROR_MSG, TEXT_INFO = 1, 3, 4
MAX_MESSAGES: Final = 32
SILENT_AND_NOT_EMPTY: Final = 0x8001
"""PAM_SILENT, and PAM_DISALLOW_NULL_AUTHTOK: who has no password cannot log in."""

MAX_PASSWORD: Final = 511
"""Octets: PAM_MAX_RESP_SIZE less the NUL at the end; modules cut or refuse what is longer."""

ENTRY_OCTETS: Final = 1 << 14
"""For the strings of a user's entry, and four times as much until they fit; `MOST_OCTETS` is beyond any real one."""

MOST_OCTETS: Final = 1 << 20


class Message(Structure):
    """struct pam_message."""

    _fields_ = (("style", c_int), ("text", c_char_p))


class Reply(Structure):
    """struct pam_response; `text` is freed by the module."""

    _fields_ = (("text", c_void_p), ("unused", c_int))


CONVERSE: Final = CFUNCTYPE(c_int, c_int, POINTER(POINTER(Message)), POINTER(POINTER(Reply)), c_void_p)
DELAY: Final = CFUNCTYPE(None, c_int, c_uint, c_void_p)


class Conversation(Structure):
    """struct pam_conv."""

    _fields_ = (("converse", CONVERSE), ("data", c_void_p))


class Passwd(Structure):
    """struct passwd."""

    _fields_ = (
        *(("name", c_char_p), ("password", c_char_p), ("uid", c_uint), ("gid", c_uint)),
        *(("gecos", c_char_p), ("home", c_char_p), ("shell", c_char_p)),
    )


class Trouble(Exception):
    """PAM, or the list of users, cannot tell; the text is for the operator."""


class Libraries:
    """The C functions. libpam is loaded for all, so that a preloaded libpam_wrapper is found before it."""

    def __init__(self) -> None:
        """Errors: OSError, AttributeError."""
        ctypes.CDLL("libpam.so.0", mode=ctypes.RTLD_GLOBAL)
        self.c = ctypes.CDLL(None, use_errno=True)
        self.c.calloc.argtypes, self.c.calloc.restype = (c_size_t, c_size_t), c_void_p
        self.c.strdup.argtypes, self.c.strdup.restype = (c_char_p,), c_void_p
        self.c.getpwnam_r.argtypes = (c_char_p, POINTER(Passwd), c_char_p, c_size_t, POINTER(POINTER(Passwd)))
        self.c.pam_start.argtypes = (c_char_p, c_char_p, POINTER(Conversation), POINTER(c_void_p))
        self.c.pam_set_item.argtypes = (c_void_p, c_int, c_void_p)
        self.c.pam_get_item.argtypes = (c_void_p, c_int, POINTER(c_char_p))
        for name in ("pam_authenticate", "pam_acct_mgmt", "pam_end"):
            getattr(self.c, name).argtypes = (c_void_p, c_int)
        self.c.pam_strerror.argtypes, self.c.pam_strerror.restype = (c_void_p, c_int), c_char_p

    def start(self, service: str, folder: str, user: bytes, conversation: Conversation) -> c_void_p:
        """pam_start; with a folder of service files, pam_start_confdir. Errors: Trouble."""
        handle = c_void_p()
        arguments = [service.encode(), user, byref(conversation)]
        if folder:
            self.c.pam_start_confdir.argtypes = (*self.c.pam_start.argtypes[:3], c_char_p, POINTER(c_void_p))
            code = self.c.pam_start_confdir(*arguments, os.fsencode(folder), byref(handle))
        else:
            code = self.c.pam_start(*arguments, byref(handle))
        if code != SUCCESS:
            raise Trouble(f"pam_start: {self.text(code)}")
        return handle

    def text(self, code: int) -> str:
        """The words of a result."""
        return f"{self.c.pam_strerror(None, code).decode('ascii', 'replace')} ({code})"

    def entry(self, name: bytes) -> tuple[int, bytes, bytes] | None:
        """The uid, the home and the own name of a system user; None: there is none. Errors: Trouble, where Python's `pwd` would say none."""
        found, entry, size = POINTER(Passwd)(), Passwd(), ENTRY_OCTETS
        while size <= MOST_OCTETS:
            buffer = ctypes.create_string_buffer(size)
            code = self.c.getpwnam_r(name, byref(entry), buffer, size, byref(found))
            if code != ERANGE:
                break
            size *= 4
        if code not in {0, ENOENT, ESRCH}:
            raise Trouble(f"getpwnam: {os.strerror(code)}")
        return (entry.uid, entry.home or b"", entry.name or b"") if found else None
