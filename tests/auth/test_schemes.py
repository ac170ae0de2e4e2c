from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailserver.auth import libcrypt
from mailserver.auth.schemes import SCHEMES, plausible, read_secret
from mailserver.auth.secret import SchemeError
from tests.auth.vectors import PASSWORDS, SECRETS

VECTORS = [(scheme, kind) for scheme, secrets in SECRETS.items() for kind in secrets]

CHEAP = sorted(name for name, row in SCHEMES.items() if not row.slow and name != "CLEAR")


@pytest.mark.parametrize(("scheme", "kind"), VECTORS)
def test_doveadms_secret_takes_its_password_and_no_other(scheme: str, kind: str) -> None:
    secret = read_secret(SECRETS[scheme][kind])
    assert secret.verify(PASSWORDS[kind])
    assert not secret.verify(b"x" + PASSWORDS[kind])


def test_every_scheme_that_doveadm_writes_has_vectors() -> None:
    assert set(SCHEMES) - {"CLEAR"} == {scheme for scheme in SECRETS if "." not in scheme}


@pytest.mark.parametrize("kind", PASSWORDS)
@pytest.mark.parametrize("scheme", ["MD5-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT"])
def test_without_a_prefix_it_is_a_crypt(scheme: str, kind: str) -> None:
    text = SECRETS[scheme][kind].partition(b"}")[2]
    secret = read_secret(text)
    assert secret.scheme == "CRYPT"
    assert secret.verify(PASSWORDS[kind])


@pytest.mark.parametrize("version", [b"2a", b"2b", b"2y"])
def test_the_three_names_of_bcrypt_are_one(version: bytes) -> None:
    text = SECRETS["BLF-CRYPT"]["utf8"].replace(b"$2y$", b"$%b$" % version)
    assert read_secret(text).verify(PASSWORDS["utf8"])


def test_octets_past_the_72nd_do_not_count_in_bcrypt_as_in_dovecot() -> None:
    secret = read_secret(SECRETS["BLF-CRYPT"]["long"])
    assert secret.verify(PASSWORDS["long"][:72])
    assert not secret.verify(PASSWORDS["long"][:71])


@pytest.mark.parametrize(
    "stored",
    [
        b"$y$j75$F5Jx5fExrKuPp53xLKQ..1$1FFFYpsJUu7KvA2n8bxYmY9jMu4CmsbkTrQin5Kf0F/",
        b"$gy$j75$F5Jx5fExrKuPp53xLKQ..1$38aZssJ0zX7cvJtwGRdFvlwK.rUjWmeTVwEbe3nH2H/",
        b"$7$A6....2....SodiumChloride$J.KjMUYtOppBL2CxrtDsB/AAZsddUPk2hvTKMYWtHWA",
    ],
)
@pytest.mark.parametrize("label", [b"", b"{CRYPT}", b"{SHA512-CRYPT}", b"{DES-CRYPT}"])
def test_a_crypt_is_what_its_hash_says_whatever_its_label(stored: bytes, label: bytes) -> None:
    for hashed in (
        stored,
        *(SECRETS[name]["utf8"].partition(b"}")[2] for name in ("MD5-CRYPT", "SHA256-CRYPT", "DES-CRYPT")),
    ):
        secret = read_secret(label + hashed)
        assert secret.verify(PASSWORDS["utf8"])
        assert not secret.verify(b"x")


def test_md5_is_a_crypt_or_a_digest() -> None:
    assert read_secret(b"{MD5}" + SECRETS["PLAIN-MD5"]["utf8"].partition(b"}")[2]).verify(PASSWORDS["utf8"])


def test_libpam_pwdfile_says_what_it_is_behind_the_hash() -> None:
    for scheme, number in (("PLAIN-MD5", b"[34]"), ("DES-CRYPT", b"[13]")):
        stored = SECRETS[scheme]["utf8"].partition(b"}")[2] + number
        assert read_secret(stored).verify(PASSWORDS["utf8"])
        assert not read_secret(stored).verify(b"x")
    with pytest.raises(SchemeError, match="the scheme DIGEST-MD5 is not supported"):
        read_secret(b"5e884898da28047151d0e56f8dc62927[56]")


def test_des_is_weak_and_says_so() -> None:
    assert "eight characters" in read_secret(SECRETS["DES-CRYPT"]["utf8"]).weak
    assert not read_secret(SECRETS["SHA512-CRYPT"]["utf8"]).weak


@pytest.fixture
def _no_libcrypt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(libcrypt, "SONAMES", ())
    libcrypt.load.cache_clear()
    yield
    libcrypt.load.cache_clear()


@pytest.mark.usefixtures("_no_libcrypt")
@pytest.mark.parametrize("scheme", ["MD5-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT"])
def test_without_libcrypt_pythons_libraries_do(scheme: str) -> None:
    for kind, password in PASSWORDS.items():
        assert read_secret(SECRETS[scheme][kind]).verify(password)
        assert not read_secret(SECRETS[scheme][kind]).verify(b"x" + password)


@pytest.mark.usefixtures("_no_libcrypt")
def test_without_libcrypt_what_only_it_knows_is_told() -> None:
    with pytest.raises(SchemeError, match="DES needs a system libcrypt"):
        read_secret(SECRETS["DES-CRYPT"]["utf8"])


def test_an_old_libcrypt_knows_the_forms_of_its_time() -> None:
    old = SimpleNamespace()
    assert all(libcrypt.knows(each, old) for each in (b"abcdefghijklm", b"$1$a$b", b"$5$a$b", b"$6$a$b"))
    assert not libcrypt.knows(b"$y$j9T$a$b", old)


def test_the_name_of_a_scheme_has_no_case() -> None:
    stored = SECRETS["SSHA512.hex"]["utf8"]
    assert read_secret(stored.replace(b"SSHA512.HEX", b"sShA512.hEx")).verify(PASSWORDS["utf8"])


def test_an_unsalted_digest_may_be_hexadecimal() -> None:
    assert read_secret(b"{sha}" + SECRETS["SHA.hex"]["utf8"].partition(b"}")[2]).verify(PASSWORDS["utf8"])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "text", [b"", b"$", b"*", b"!!", b"x", b"\xff\xfe", b"$1$", b"$6$salt", b"1,,,", b"$$$$", b"a,b"]
)
def test_a_secret_that_is_none_is_an_error_that_does_not_show_it(scheme: str, text: bytes) -> None:
    if scheme in {"PLAIN", "CLEAR", "CLEARTEXT"} and text:
        assert read_secret(b"{%b}%b" % (scheme.encode(), text)).verify(text)
        return
    with pytest.raises(SchemeError) as caught:
        read_secret(b"{%b}%b" % (scheme.encode(), text))
    assert "salt" not in str(caught.value)


@pytest.mark.parametrize(
    "stored",
    [
        b"{SHA}" + b"A" * 26 + b"==",  # one octet short
        b"{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwlYWFhY",  # a salt where none belongs
        b"{SSHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=",  # none where one belongs
        b"{SHA.hex}xyz",
        b"{SHA.b64}***",
        b"{PBKDF2}$2$salt$5000$" + b"0" * 40,
        b"{PBKDF2}$1$salt$0$" + b"0" * 40,
        b"{PBKDF2}$1$salt$99999999999$" + b"0" * 40,
        b"{PBKDF2}$1$$5000$" + b"0" * 40,
        b"{PBKDF2}$1$salt$5000$00",
        b"{SCRAM-SHA-1}4096,c2FsdA==,AAAA,AAAA",
        b"{SCRAM-SHA-1}0,c2FsdA==,2jmj7l5rSw0yVb/vlWAYkK/YBwk=,2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        b"{SCRAM-SHA-1}4096,,2jmj7l5rSw0yVb/vlWAYkK/YBwk=,2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        b"{SHA512-CRYPT}$6$rounds=999999999$salt$" + b"a" * 86,
        b"{BLF-CRYPT}$2y$31$" + b"." * 53,
        b"{BLF-CRYPT}$2y$03$" + b"." * 53,
        b"{BLF-CRYPT}$2y$05$" + b"." * 21 + b"z" + b"." * 31,
        b"{ARGON2ID}$argon2id$v=19$m=9999999,t=9999,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
        b"{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHR$aGFzaGhhc2g",
        b"{ARGON2ID}$argon2id$v=19$m=31,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g",
        b"{ARGON2ID}$argon2d$v=19$m=65536,t=3,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
        b"$y$jZT$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
        b"{CRAM-MD5}" + b"0" * 62,
        b"{MD5}" + b"0" * 31,
        b"x[34]",
        b"x[56]",
        b"just a password",
        b"{NO-SUCH}x",
        b"{broken",
    ],
)
def test_what_could_fail_or_never_end_at_a_login_is_found_when_it_is_read(stored: bytes) -> None:
    with pytest.raises(SchemeError):
        read_secret(stored)


@pytest.mark.parametrize(
    ("module", "scheme"), [("passlib.hash", "SHA512-CRYPT"), ("bcrypt", "BLF-CRYPT"), ("argon2.low_level", "ARGON2ID")]
)
@pytest.mark.usefixtures("_no_libcrypt")
def test_a_missing_library_is_named_by_its_remedy(module: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        SchemeError, match=rf"{scheme} needs more: .* is not installed: pip install twisted-mailserver\[hashes\]"
    ):
        read_secret(SECRETS[scheme]["utf8"])


def test_only_a_scheme_that_keeps_the_password_tells_it() -> None:
    assert read_secret(b"{PLAIN}tanstaaf").clear == b"tanstaaf"
    assert read_secret(SECRETS["PLAIN.b64"]["utf8"]).clear == PASSWORDS["utf8"]
    assert read_secret(SECRETS["SHA"]["utf8"]).clear is None


def test_equal_rounds_cost_the_same_and_others_do_not() -> None:
    first, second = (read_secret(SECRETS["SHA512-CRYPT"][kind]) for kind in ("utf8", "octets"))
    third = read_secret(b"{SHA512-CRYPT}$6$rounds=20000$salt$" + b"a" * 85 + b"/")
    assert first.cost == second.cost != third.cost


@pytest.mark.parametrize("scheme", SECRETS)
def test_a_secret_is_not_shown(scheme: str) -> None:
    stored = SECRETS[scheme]["utf8"]
    text = stored.partition(b"}")[2].decode()
    assert text not in repr(read_secret(stored))


@given(st.binary())
def test_a_password_is_at_most_4096_octets_without_nul(password: bytes) -> None:
    assert plausible(password) == (b"\0" not in password)


def test_an_endless_password_is_none() -> None:
    assert plausible(b"x" * 4096)
    assert not plausible(b"x" * 4097)


@settings(deadline=None)
@given(st.sampled_from(CHEAP), st.binary(max_size=200))
def test_any_octets_are_right_or_wrong(scheme: str, password: bytes) -> None:
    assert read_secret(SECRETS[scheme]["utf8"]).verify(password) == (password == PASSWORDS["utf8"])


@settings(deadline=None)
@given(st.binary(max_size=120))
def test_any_octets_are_a_secret_or_an_error(stored: bytes) -> None:
    with suppress(SchemeError):
        read_secret(stored)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(["SHA512-CRYPT", "MD5-CRYPT", "BLF-CRYPT", "PBKDF2", "SCRAM-SHA-256"]), st.binary(max_size=4096))
def test_any_plausible_octets_are_right_or_wrong_for_the_libraries_too(scheme: str, password: bytes) -> None:
    if plausible(password):
        assert read_secret(SECRETS[scheme]["utf8"]).verify(password) == (password == PASSWORDS["utf8"])
