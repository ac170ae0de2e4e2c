"""New secrets: each is one that `schemes` verifies, with a salt of its own."""

import pytest

from mailserver.auth.making import MAKERS, make_secret
from mailserver.auth.schemes import SCHEMES, read_secret
from mailserver.auth.secret import SchemeError


@pytest.mark.parametrize("scheme", MAKERS)
@pytest.mark.parametrize("password", [b"sesame", "Schlüssel".encode(), b"with: colon and space", b"x" * 72])
def test_what_is_made_is_verified(scheme, password):
    stored = make_secret(scheme.lower(), password)
    secret = read_secret(stored)
    assert secret.scheme == scheme
    assert secret.verify(password)
    assert not secret.verify(b"y" + password[1:])
    assert not secret.weak


def test_only_what_needs_none_has_no_salt():
    assert {each for each in MAKERS if make_secret(each, b"x") == make_secret(each, b"x")} == {"PLAIN", "CRAM-MD5"}


@pytest.mark.parametrize("password", [b"", b"a\nb", b"a\rb", b"a\0b", b"x" * 4097])
def test_what_is_no_password_is_refused_and_not_repeated(password):
    with pytest.raises(SchemeError, match="1 to 4096 octets"):
        make_secret("PLAIN", password)


def test_a_password_that_bcrypt_would_cut_is_refused():
    with pytest.raises(SchemeError, match="72 octets"):
        make_secret("BLF-CRYPT", b"x" * 73)


@pytest.mark.parametrize("scheme", ["DES-CRYPT", "MD5", "NO-SUCH", ""])
def test_other_schemes_are_not_made(scheme):
    with pytest.raises(SchemeError, match="are not made here"):
        make_secret(scheme, b"x")


def test_each_maker_is_of_a_scheme_that_is_verified():
    assert MAKERS.keys() <= SCHEMES.keys()
