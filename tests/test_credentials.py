"""Credentials: what they verify, and that they never show a secret."""

import pickle
from dataclasses import FrozenInstanceError, replace
from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from zope.interface.verify import verifyObject

from mailserver.credentials import (
    ActingFor,
    Apop,
    BearerToken,
    CramMd5,
    IActingFor,
    IBearerToken,
    IKerberosIdentity,
    IVerifiedIdentity,
    KerberosIdentity,
    Password,
    VerifiedIdentity,
)

PASSWORD = Password(b"alice", b"tanstaaf")
APOP = Apop(b"<1896.697170952@dbc.mtview.ca.us>", b"mrose", b"c4c9334bac560ecc979e58001b3e22fb")
CRAM = CramMd5(b"tim", b"<1896.697170952@postoffice.reston.mci.net>", b"b913a602c7eda7a495b4e6e7334d3890")
OFFERED = [
    (IUsernamePassword, PASSWORD),
    (IUsernameHashedPassword, APOP),
    (IUsernameHashedPassword, CRAM),
    (IVerifiedIdentity, VerifiedIdentity(b"alice")),
    (IActingFor, ActingFor(PASSWORD, b"bob")),
    (IBearerToken, BearerToken(b"tanstaaf")),
    (IKerberosIdentity, KerberosIdentity("alice@EXAMPLE.ORG", b"alice")),
]


@pytest.mark.parametrize(("interface", "credentials"), OFFERED, ids=lambda each: type(each).__name__)
def test_they_keep_to_the_interface_that_their_checker_takes(interface, credentials):
    assert verifyObject(interface, credentials)


@given(st.binary(), st.binary())
def test_a_password_is_right_when_it_is_the_same(given_password, stored):
    assert Password(b"alice", given_password).checkPassword(stored) is (given_password == stored)
    assert Password(b"alice", stored).checkPassword(stored)


def test_the_digest_of_rfc_1939_is_right():
    assert APOP.checkPassword(b"tanstaaf")
    assert not APOP.checkPassword(b"tanstaag")
    assert not replace(APOP, magic=b"<1897.697170952@dbc.mtview.ca.us>").checkPassword(b"tanstaaf")


@given(st.binary(), st.binary(), st.binary())
def test_any_digest_but_the_right_one_is_wrong(magic, digest, secret):
    assert not Apop(magic, b"alice", digest).checkPassword(secret) or digest == md5(magic + secret).hexdigest().encode()


@pytest.mark.parametrize("credentials", [each for _, each in OFFERED], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("show", [repr, str, "{!r}".format, "{}".format], ids=["repr", "str", "format-r", "format"])
def test_no_secret_is_shown(credentials, show):
    shown = show(credentials)
    assert getattr(credentials, "username", b"").decode() in shown
    assert all(secret not in shown for secret in ("tanstaaf", "c4c9", "b913"))


def test_the_response_of_rfc_2195_is_right():
    assert CRAM.checkPassword(b"tanstaaftanstaaf")
    assert not CRAM.checkPassword(b"tanstaaftanstaag")
    assert not replace(CRAM, challenge=b"<1>").checkPassword(b"tanstaaftanstaaf")


def test_who_acts_for_another_is_known_by_his_own_name():
    acting = ActingFor(PASSWORD, b"bob")
    assert (acting.username, acting.authzid) == (b"alice", b"bob")


def test_they_are_frozen_and_compare_by_what_they_hold():
    with pytest.raises(FrozenInstanceError):
        PASSWORD.password = b"other"
    assert Password(b"alice", b"tanstaaf") == PASSWORD != Password(b"alice", b"other")
    assert pickle.loads(pickle.dumps(PASSWORD)) == PASSWORD
    assert not hasattr(PASSWORD, "__dict__")
