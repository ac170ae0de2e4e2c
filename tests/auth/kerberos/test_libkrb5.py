from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mailserver.auth.kerberos import libkrb5
from mailserver.auth.kerberos.libkrb5 import KerberosError, KerberosUnavailable

C_NAMES = {
    libkrb5.Data: "krb5_data",
    libkrb5.PrincipalData: "krb5_principal_data",
    libkrb5.Keyblock: "krb5_keyblock",
    libkrb5.EncData: "krb5_enc_data",
    libkrb5.EncTicketPart: "krb5_enc_tkt_part",
    libkrb5.Ticket: "krb5_ticket",
    libkrb5.KeytabEntry: "krb5_keytab_entry",
    libkrb5.TicketTimes: "krb5_ticket_times",
    libkrb5.Creds: "krb5_creds",
    libkrb5.VerifyOptions: "krb5_verify_init_creds_opt",
}

NUMBERS = {
    "KRB5_LNAME_NOTRANS": libkrb5.NO_TRANSLATION,
    "KRB5_CONFIG_NOTENUFSPACE": libkrb5.NAME_TOO_LONG,
    "KRB5_PARSE_MALFORMED": libkrb5.MALFORMED_NAME,
    "KRB5_KT_END": libkrb5.END_OF_KEYTAB,
    "KRB5KRB_AP_ERR_NOKEY": libkrb5.FIRST_ERROR + libkrb5.NO_KEY,
    "KRB5KRB_ERR_GENERIC": libkrb5.FIRST_ERROR + libkrb5.GENERIC,
    "KRB5_RC_TYPE_EXISTS": libkrb5._REPLAY_CACHE[0],
    "KRB5_RC_IO_SPACE": libkrb5._REPLAY_CACHE[-1],
    "KRB5_NT_SRV_HST": libkrb5.NT_SRV_HST,
    "AP_OPTS_MUTUAL_REQUIRED": libkrb5.MUTUAL_REQUIRED,
}


def expressions():
    """C's words for what ours say: the offset of every field, the size of what is whole, and the numbers."""
    for ours, name in C_NAMES.items():
        for field, *_ in ours._fields_:
            yield f"offsetof({name}, {field})", getattr(ours, field).offset
        if ours is not libkrb5.EncTicketPart:
            yield f"sizeof({name})", ctypes.sizeof(ours)
    yield from NUMBERS.items()


def test_the_structures_and_numbers_are_those_of_the_c_header(tmp_path: Path) -> None:
    if not Path("/usr/include/krb5.h").exists() or not shutil.which("gcc"):
        pytest.skip("there is no compiler or no krb5.h: apt-get install gcc libkrb5-dev")
    lines = "".join(f'printf("%ld\\n", (long)({expression}));' for expression, _ in expressions())
    program = tmp_path / "header.c"
    program.write_text(
        f"#include <krb5.h>\n#include <stdio.h>\n#include <stddef.h>\nint main(void) {{ {lines} return 0; }}\n"
    )
    subprocess.run(["gcc", "-o", tmp_path / "header", program], check=True)
    said = subprocess.run([tmp_path / "header"], check=True, capture_output=True, text=True).stdout
    assert dict(zip(dict(expressions()), map(int, said.split()), strict=True)) == dict(expressions())


def test_every_function_knows_its_types() -> None:
    library = libkrb5.load()
    for name in [*libkrb5._CODES, *libkrb5._OTHERS]:
        assert getattr(library, name).argtypes is not None


def test_one_kind_of_pointer_is_not_taken_for_another() -> None:
    with pytest.raises(ctypes.ArgumentError):
        libkrb5.load().krb5_free_context(ctypes.POINTER(libkrb5.Keytab)())


@pytest.mark.parametrize("name", ["libkrb5.so.nowhere", "libc.so.6"])
def test_a_library_that_is_missing_or_another_is_an_error_that_says_what_to_install(name: str) -> None:
    with pytest.raises(KerberosUnavailable, match=re.escape("apt-get install libkrb5-3")):
        libkrb5.load(name)


@pytest.mark.parametrize(
    ("number", "code", "ours"),
    [
        (libkrb5.FIRST_ERROR, 0, False),
        (libkrb5.FIRST_ERROR + 34, 34, False),
        (libkrb5.FIRST_ERROR + 127, 127, False),
        (libkrb5.FIRST_ERROR + 128, 60, False),
        (1859794437, 60, False),  # ASN.1
        (0, 60, False),
        (libkrb5.FIRST_ERROR + 45, 45, True),
        (libkrb5.FIRST_ERROR + 168, 60, True),  # the replay cache's
        (13, 60, True),  # EACCES
    ],
)
def test_errors_have_a_code_of_the_protocols_and_say_whose_they_are(number: int, code: int, ours: bool) -> None:
    error = KerberosError(number, "text")
    assert (error.code, error.ours) == (code, ours)
