"""The C interface of MIT's libkrb5: its structures, its functions with their types, and its errors.

It uses ctypes, so it needs no compiler and no package, and a machine without Kerberos runs everything else. ctypes releases
the interpreter lock during a call. Only the public interface (krb5.h, profile.h) is used.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_int, c_int32, c_long, c_uint, c_void_p
from functools import cache
from typing import Any, Final

from mailserver.errors import Unusable

SONAME: Final = "libkrb5.so.3"
"""MIT's library. Heimdal's is libkrb5.so.26, and its structures differ."""

FIRST_ERROR: Final = -1765328384
"""libkrb5's number for the first of RFC 4120's error codes (section 7.5.9), of which there can be 128."""

GENERIC: Final = 60
"""KRB_ERR_GENERIC, for errors without a code of their own."""

NT_SRV_HST: Final = 3
MUTUAL_REQUIRED: Final = 0x20000000
NO_TRANSLATION: Final = FIRST_ERROR + 176  # KRB5_LNAME_NOTRANS
NAME_TOO_LONG: Final = FIRST_ERROR + 137  # KRB5_CONFIG_NOTENUFSPACE
MALFORMED_NAME: Final = FIRST_ERROR + 134  # KRB5_PARSE_MALFORMED
END_OF_KEYTAB: Final = FIRST_ERROR + 182  # KRB5_KT_END

NO_KEY: Final = 45
"""KRB_AP_ERR_NOKEY: libkrb5's error for a keytab that is missing or has no usable key."""

_CODES_OF_RFC_4120: Final = range(128)
_REPLAY_CACHE: Final = range(FIRST_ERROR + 159, FIRST_ERROR + 173)  # KRB5_RC_TYPE_EXISTS to KRB5_RC_IO_SPACE
_SYSTEM: Final = range(1, 1000)  # an errno


class KerberosUnavailable(Unusable):
    """Kerberos is configured but cannot be used; the text names the cause and the remedy."""


class KerberosError(Exception):
    """An error of libkrb5. The text may name files, principals and key versions: it is for the log."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number

    @property
    def code(self) -> int:
        """RFC 4120's error code."""
        code = self.number - FIRST_ERROR
        return code if code in _CODES_OF_RFC_4120 else GENERIC

    @property
    def ours(self) -> bool:
        """Whether the server's keytab or replay cache is the cause, and not the client."""
        return self.code == NO_KEY or self.number in _REPLAY_CACHE or self.number in _SYSTEM


class Data(Structure):
    """krb5_data."""

    _fields_ = (("magic", c_int32), ("length", c_uint), ("data", POINTER(c_char)))


class PrincipalData(Structure):
    """krb5_principal_data."""

    _fields_ = (
        *(("magic", c_int32), ("realm", Data), ("data", POINTER(Data))),
        *(("length", c_int32), ("type", c_int32)),
    )


class Keyblock(Structure):
    """krb5_keyblock."""

    _fields_ = (("magic", c_int32), ("enctype", c_int32), ("length", c_uint), ("contents", c_void_p))


class EncData(Structure):
    """krb5_enc_data."""

    _fields_ = (("magic", c_int32), ("enctype", c_int32), ("kvno", c_uint), ("ciphertext", Data))


class EncTicketPart(Structure):
    """The head of krb5_enc_tkt_part, up to the client; libkrb5 allocates the whole structure."""

    _fields_ = (
        *(("magic", c_int32), ("flags", c_int32), ("session", POINTER(Keyblock))),
        ("client", POINTER(PrincipalData)),
    )


class Ticket(Structure):
    """krb5_ticket."""

    _fields_ = (
        *(("magic", c_int32), ("server", POINTER(PrincipalData)), ("enc_part", EncData)),
        ("enc_part2", POINTER(EncTicketPart)),
    )


class KeytabEntry(Structure):
    """krb5_keytab_entry."""

    _fields_ = (
        *(("magic", c_int32), ("principal", POINTER(PrincipalData)), ("timestamp", c_int32)),
        *(("vno", c_uint), ("key", Keyblock)),
    )


class TicketTimes(Structure):
    """krb5_ticket_times."""

    _fields_ = (("authtime", c_int32), ("starttime", c_int32), ("endtime", c_int32), ("renew_till", c_int32))


class Creds(Structure):
    """krb5_creds. We allocate it, so all its fields are here."""

    _fields_ = (
        *(("magic", c_int32), ("client", POINTER(PrincipalData)), ("server", POINTER(PrincipalData))),
        *(("keyblock", Keyblock), ("times", TicketTimes), ("is_skey", c_uint), ("ticket_flags", c_int32)),
        *(("addresses", c_void_p), ("ticket", Data), ("second_ticket", Data), ("authdata", c_void_p)),
    )


class VerifyOptions(Structure):
    """krb5_verify_init_creds_opt."""

    _fields_ = (("flags", c_int32), ("ap_req_nofail", c_int))


class Opaque(Structure):
    """An opaque structure of libkrb5; each kind has a subclass, so that ctypes refuses one kind for another."""


class Context(Opaque):
    """krb5_context."""


class AuthContext(Opaque):
    """krb5_auth_context."""


class Keytab(Opaque):
    """krb5_keytab."""


class InitOptions(Opaque):
    """krb5_get_init_creds_opt."""


class InitContext(Opaque):
    """krb5_init_creds_context."""


class Profile(Opaque):
    """profile_t: the parsed krb5.conf."""


_Context: Final = POINTER(Context)
_Auth: Final = POINTER(AuthContext)
_Principal: Final = POINTER(PrincipalData)
_Keytab: Final = POINTER(Keytab)
_Ticket: Final = POINTER(Ticket)
_Options: Final = POINTER(InitOptions)
_InitContext: Final = POINTER(InitContext)
_Profile: Final = POINTER(Profile)
_Data: Final = POINTER(Data)
_Entry: Final = POINTER(KeytabEntry)
_Creds: Final = POINTER(Creds)
_Verify: Final = POINTER(VerifyOptions)
_Text: Final = POINTER(c_char_p)

Prompter: Final = CFUNCTYPE(c_int32, _Context, c_void_p, c_char_p, c_char_p, c_int, c_void_p)
"""krb5_prompter_fct."""

Arguments = tuple[Any, ...]

_CODES: Final[Mapping[str, Arguments]] = {
    "krb5_init_context": (POINTER(_Context),),
    "krb5_get_profile": (_Context, POINTER(_Profile)),
    "krb5_get_default_realm": (_Context, _Text),
    "krb5_parse_name": (_Context, c_char_p, POINTER(_Principal)),
    "krb5_unparse_name": (_Context, _Principal, _Text),
    "krb5_aname_to_localname": (_Context, _Principal, c_int, c_char_p),
    "krb5_kt_resolve": (_Context, c_char_p, POINTER(_Keytab)),
    "krb5_kt_start_seq_get": (_Context, _Keytab, POINTER(c_void_p)),
    "krb5_kt_next_entry": (_Context, _Keytab, _Entry, POINTER(c_void_p)),
    "krb5_kt_end_seq_get": (_Context, _Keytab, POINTER(c_void_p)),
    "krb5_kt_close": (_Context, _Keytab),
    "krb5_free_keytab_entry_contents": (_Context, _Entry),
    "krb5_auth_con_init": (_Context, POINTER(_Auth)),
    "krb5_rd_req": (_Context, POINTER(_Auth), _Data, _Principal, _Keytab, POINTER(c_int32), POINTER(_Ticket)),
    "krb5_mk_rep": (_Context, _Auth, _Data),
    "krb5_auth_con_free": (_Context, _Auth),
    "krb5_get_init_creds_opt_alloc": (_Context, POINTER(_Options)),
    "krb5_get_init_creds_password": (
        *(_Context, _Creds, _Principal, c_char_p),
        *(c_void_p, c_void_p, c_int32, c_char_p, _Options),
    ),
    "krb5_init_creds_init": (_Context, _Principal, Prompter, c_void_p, c_int32, _Options, POINTER(_InitContext)),
    "krb5_init_creds_get": (_Context, _InitContext),
    "krb5_verify_init_creds": (_Context, _Creds, _Principal, _Keytab, c_void_p, _Verify),
}
"""The functions that return a krb5_error_code, with the types of their arguments."""

_OTHERS: Final[Mapping[str, tuple[Any, Arguments]]] = {
    "krb5_free_context": (None, (_Context,)),
    "krb5_get_error_message": (POINTER(c_char), (_Context, c_int32)),
    "krb5_clear_error_message": (None, (_Context,)),
    "krb5_free_error_message": (None, (_Context, POINTER(c_char))),
    "krb5_free_default_realm": (None, (_Context, c_char_p)),
    "krb5_free_principal": (None, (_Context, _Principal)),
    "krb5_free_unparsed_name": (None, (_Context, c_char_p)),
    "krb5_sname_match": (c_uint, (_Context, _Principal, _Principal)),
    "krb5_kuserok": (c_uint, (_Context, _Principal, c_char_p)),
    "krb5_free_ticket": (None, (_Context, _Ticket)),
    "krb5_free_data_contents": (None, (_Context, _Data)),
    "krb5_get_init_creds_opt_set_tkt_life": (None, (_Options, c_int32)),
    "krb5_get_init_creds_opt_set_forwardable": (None, (_Options, c_int)),
    "krb5_get_init_creds_opt_set_proxiable": (None, (_Options, c_int)),
    "krb5_get_init_creds_opt_free": (None, (_Context, _Options)),
    "krb5_init_creds_free": (None, (_Context, _InitContext)),
    "krb5_verify_init_creds_opt_init": (None, (_Verify,)),
    "krb5_verify_init_creds_opt_set_ap_req_nofail": (None, (_Verify, c_int)),
    "krb5_free_cred_contents": (None, (_Context, _Creds)),
    "profile_get_string": (c_long, (_Profile, c_char_p, c_char_p, c_char_p, c_char_p, _Text)),
    "profile_release_string": (None, (c_char_p,)),
    "profile_release": (None, (_Profile,)),
}
"""The other functions, with the types of their results and arguments."""


@cache
def load(soname: str = SONAME) -> ctypes.CDLL:
    """The library, with every function declared. Errors: KerberosUnavailable."""
    try:
        library = ctypes.CDLL(soname)
        for name, arguments in _CODES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = c_int32, arguments
        for name, (result, arguments) in _OTHERS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise KerberosUnavailable(
            f"MIT's Kerberos library cannot be used ({error}): install it (apt-get install libkrb5-3), or leave Kerberos out"
        ) from None
    return library
