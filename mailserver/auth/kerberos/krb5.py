r"""The Kerberos operations for tickets, names and passwords, by libkrb5, for one thread.

Principals are text as Kerberos writes them, ``alice/admin@EXAMPLE.ORG``, with "\" before special characters.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from mailserver.auth.kerberos import libkrb5
from mailserver.auth.kerberos.libkrb5 import (
    END_OF_KEYTAB,
    MALFORMED_NAME,
    MUTUAL_REQUIRED,
    NAME_TOO_LONG,
    NO_TRANSLATION,
    NT_SRV_HST,
    KerberosError,
    KerberosUnavailable,
)

SERVICE: Final = "pop"
"""The first component of a POP3 server's principal (RFC 5034 section 4)."""

LOCAL_NAME_OCTETS: Final = 256
"""A user name has at most 255 octets, and C needs one for the NUL."""

TICKET_SECONDS: Final = 300
"""The lifetime of the TGT that a password gets: it is used once, at once, and five minutes allow for clock skew."""


class UnprovenKdc(KerberosError):
    """A KDC accepted the password, but could not prove that it knows the keytab's key."""


class Krb5:
    """A context of libkrb5, made and used by one thread. It ends with its last reference, or by `close`."""

    def __init__(self) -> None:
        self._context = ctypes.POINTER(libkrb5.Context)()
        self._lib = libkrb5.load()
        number = self._lib.krb5_init_context(ctypes.byref(self._context))
        if number:
            raise KerberosUnavailable(f"libkrb5 cannot start ({self._text(number)}): see krb5.conf")

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Free the context; idempotent."""
        context, self._context = self._context, ctypes.POINTER(libkrb5.Context)()
        if context:
            self._lib.krb5_free_context(context)

    def accept(self, ap_req: bytes, keytab: str, host: str) -> tuple[str, bytes | None]:
        """Verify an AP-REQ for ``pop/`` `host` ("": for any host), and record it in the replay cache.

        Answers the client, and the AP-REP if it asked for one. Errors: KerberosError.
        """
        buffer = ctypes.create_string_buffer(ap_req, len(ap_req))
        data = libkrb5.Data(0, len(ap_req), ctypes.cast(buffer, ctypes.POINTER(ctypes.c_char)))
        auth = ctypes.POINTER(libkrb5.AuthContext)()
        ticket = ctypes.POINTER(libkrb5.Ticket)()
        options = ctypes.c_int32()
        self._try(self._lib.krb5_auth_con_init, ctypes.byref(auth))
        try:
            with self._keytab(keytab) as keys, self._services(host) as services:
                self._try(
                    *(self._lib.krb5_rd_req, ctypes.byref(auth), ctypes.byref(data), services, keys),
                    *(ctypes.byref(options), ctypes.byref(ticket)),
                )
            client = self._name(ticket.contents.enc_part2.contents.client)
            return client, self._reply(auth) if options.value & MUTUAL_REQUIRED else None
        finally:
            if ticket:
                self._lib.krb5_free_ticket(self._context, ticket)
            self._lib.krb5_auth_con_free(self._context, auth)

    def keys(self, keytab: str, host: str) -> tuple[list[str], list[str]]:
        """The principals of a keytab: those whose keys `accept` would use, and all others. Errors: KerberosError."""
        found: tuple[list[str], list[str]] = ([], [])
        entry = libkrb5.KeytabEntry()
        with self._services(host) as services:
            for _ in self._entries(keytab, entry):
                ours = self._lib.krb5_sname_match(self._context, services, entry.principal)
                names = found[0 if ours else 1]
                name = self._name(entry.principal)
                if name not in names:
                    names.append(name)
        return found

    def local_name(self, principal: str) -> str | None:
        """The user to whom krb5.conf's ``auth_to_local`` maps a principal: by default its name, for the local realm."""
        name = ctypes.create_string_buffer(LOCAL_NAME_OCTETS)
        try:
            with self._parsed(principal) as parsed:
                self._try(self._lib.krb5_aname_to_localname, parsed, LOCAL_NAME_OCTETS, name)
        except KerberosError as error:
            if error.number in {NO_TRANSLATION, NAME_TOO_LONG, MALFORMED_NAME}:
                return None
            raise
        try:
            return name.value.decode("utf-8")
        except UnicodeDecodeError:
            return None

    def user_ok(self, principal: str, user: str) -> bool:
        """Whether the system user's ``.k5login`` admits a principal. Errors: KerberosError."""
        with self._parsed(principal) as parsed:
            return bool(self._lib.krb5_kuserok(self._context, parsed, user.encode("utf-8")))

    def default_realm(self) -> str:
        """The realm of principals that are written without one. Errors: KerberosError."""
        realm = ctypes.c_char_p()
        self._try(self._lib.krb5_get_default_realm, ctypes.byref(realm))
        try:
            return _text(realm.value)
        finally:
            self._lib.krb5_free_default_realm(self._context, realm)

    def setting(self, name: str) -> str:
        """The value of a setting in krb5.conf's ``[libdefaults]``; "" if there is none."""
        profile = ctypes.POINTER(libkrb5.Profile)()
        value = ctypes.c_char_p()
        self._try(self._lib.krb5_get_profile, ctypes.byref(profile))
        try:
            path = (b"libdefaults", name.encode("ascii"), None, None)
            self._lib.profile_get_string(profile, *path, ctypes.byref(value))
            return _text(value.value or b"")
        finally:
            if value:
                self._lib.profile_release_string(value)
            self._lib.profile_release(profile)

    def check_password(self, principal: str, password: bytes, service: str, keytab: str) -> None:
        """Check a password by the KDC, and check the KDC by the keytab's key of `service`.

        Errors: KerberosError when the KDC refuses or does not answer; UnprovenKdc.
        """
        creds = libkrb5.Creds()
        with self._parsed(principal) as client, self._parsed(service) as server, self._keytab(keytab) as keys:
            try:
                self._initial(creds, client, password)
                self._prove(creds, server, keys)
            finally:
                self._lib.krb5_free_cred_contents(self._context, ctypes.byref(creds))  # it zeroes the session key

    def ask_without_password(self, principal: str) -> None:
        """Ask the KDC for a ticket up to where the password is needed: it says by then if it refuses the principal.

        It counts no wrong password. Errors: KerberosError, as of `check_password`.
        """
        asked: list[int] = []

        def prompt(*_: object) -> int:
            asked.append(1)
            return errno.EINTR  # as where a user gives up

        prompter = libkrb5.Prompter(prompt)
        options, context = ctypes.POINTER(libkrb5.InitOptions)(), ctypes.POINTER(libkrb5.InitContext)()
        with self._parsed(principal) as client:
            self._try(self._lib.krb5_init_creds_init, client, prompter, None, 0, options, ctypes.byref(context))
            try:
                self._try(self._lib.krb5_init_creds_get, context)
            except KerberosError:
                if not asked:
                    raise
            finally:
                self._lib.krb5_init_creds_free(self._context, context)

    def _initial(self, creds: libkrb5.Creds, client: Any, password: bytes) -> None:
        options = ctypes.POINTER(libkrb5.InitOptions)()
        secret = ctypes.create_string_buffer(password)
        self._try(self._lib.krb5_get_init_creds_opt_alloc, ctypes.byref(options))
        try:
            self._lib.krb5_get_init_creds_opt_set_tkt_life(options, TICKET_SECONDS)
            self._lib.krb5_get_init_creds_opt_set_forwardable(options, 0)
            self._lib.krb5_get_init_creds_opt_set_proxiable(options, 0)
            get = self._lib.krb5_get_init_creds_password
            self._try(get, ctypes.byref(creds), client, secret, None, None, 0, None, options)
        finally:
            ctypes.memset(secret, 0, len(secret))
            self._lib.krb5_get_init_creds_opt_free(self._context, options)

    def _prove(self, creds: libkrb5.Creds, server: Any, keys: Any) -> None:
        """Check the KDC: a spoofed one cannot make a ticket that the service's key decrypts."""
        options = libkrb5.VerifyOptions()
        self._lib.krb5_verify_init_creds_opt_init(ctypes.byref(options))
        self._lib.krb5_verify_init_creds_opt_set_ap_req_nofail(ctypes.byref(options), 1)  # no key: no proof
        try:
            verify = self._lib.krb5_verify_init_creds
            self._try(verify, ctypes.byref(creds), server, keys, None, ctypes.byref(options))
        except KerberosError as error:
            raise UnprovenKdc(error.number, str(error)) from None

    def _reply(self, auth: Any) -> bytes:
        reply = libkrb5.Data()
        self._try(self._lib.krb5_mk_rep, auth, ctypes.byref(reply))
        try:
            return ctypes.string_at(reply.data, reply.length)
        finally:
            self._lib.krb5_free_data_contents(self._context, ctypes.byref(reply))

    def _entries(self, keytab: str, entry: libkrb5.KeytabEntry) -> Iterator[None]:
        cursor = ctypes.c_void_p()
        with self._keytab(keytab) as keys:
            self._try(self._lib.krb5_kt_start_seq_get, keys, ctypes.byref(cursor))
            try:
                while self._next(keys, entry, cursor):
                    try:
                        yield
                    finally:
                        self._lib.krb5_free_keytab_entry_contents(self._context, ctypes.byref(entry))
            finally:
                self._lib.krb5_kt_end_seq_get(self._context, keys, ctypes.byref(cursor))

    def _next(self, keys: Any, entry: libkrb5.KeytabEntry, cursor: ctypes.c_void_p) -> bool:
        try:
            self._try(self._lib.krb5_kt_next_entry, keys, ctypes.byref(entry), ctypes.byref(cursor))
        except KerberosError as error:
            if error.number == END_OF_KEYTAB:
                return False
            raise
        return True

    @contextmanager
    def _services(self, host: str) -> Iterator[Any]:
        """The pattern of the principals whose keys libkrb5 may use: in this name type an empty component matches any.

        It is parsed from text, because krb5_sname_to_principal would look up the host in the DNS.
        """
        with self._parsed(f"{SERVICE}/{host}@") as pattern:
            pattern.contents.type = NT_SRV_HST
            yield pattern

    @contextmanager
    def _parsed(self, name: str) -> Iterator[Any]:
        principal = ctypes.POINTER(libkrb5.PrincipalData)()
        self._try(self._lib.krb5_parse_name, name.encode("utf-8"), ctypes.byref(principal))
        try:
            yield principal
        finally:
            self._lib.krb5_free_principal(self._context, principal)

    @contextmanager
    def _keytab(self, path: str) -> Iterator[Any]:
        """A handle for a keytab; libkrb5 reads the file at each use."""
        keytab = ctypes.POINTER(libkrb5.Keytab)()
        self._try(self._lib.krb5_kt_resolve, b"FILE:" + os.fsencode(path), ctypes.byref(keytab))
        try:
            yield keytab
        finally:
            self._lib.krb5_kt_close(self._context, keytab)

    def _name(self, principal: Any) -> str:
        name = ctypes.c_char_p()
        self._try(self._lib.krb5_unparse_name, principal, ctypes.byref(name))
        try:
            return _text(name.value)
        finally:
            self._lib.krb5_free_unparsed_name(self._context, name)

    def _try(self, function: Callable[..., int], *arguments: Any) -> None:
        number = function(self._context, *arguments)
        if number:
            raise KerberosError(number, self._text(number))

    def _text(self, number: int) -> str:
        text = self._lib.krb5_get_error_message(self._context, number)
        try:
            return ctypes.string_at(text).decode("utf-8", "backslashreplace")
        finally:
            self._lib.krb5_free_error_message(self._context, text)
            self._lib.krb5_clear_error_message(
                self._context
            )  # else the next error with this number would get this text


def _text(octets: bytes | None) -> str:
    """A Kerberos name as text. A name that is not UTF-8 is an error, since two such names could have the same text."""
    try:
        return (octets or b"").decode("utf-8")
    except UnicodeDecodeError:
        raise KerberosError(0, "a name that is not UTF-8") from None
