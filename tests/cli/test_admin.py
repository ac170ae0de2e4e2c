"""What an operator's command says of errors, and which of several exit statuses counts."""

import os

import pytest

from mailserver.cli.admin import excuse, worst
from mailserver.errors import MaildropInUse, MaildropUnavailable, NoMaildrop, TemporaryFailure
from tests.cli.running import run
from tests.cli.test_quota import settings
from tests.servers import Site


@pytest.mark.parametrize(
    ("error", "text", "status"),
    [
        (NoMaildrop("'alice' has no home"), "'alice' has no home", os.EX_CONFIG),
        (MaildropUnavailable("/x: Permission denied"), "/x: Permission denied", os.EX_TEMPFAIL),
        (MaildropInUse(), "the maildrop is in use; `mailserver locks` tells more", os.EX_TEMPFAIL),
        (TemporaryFailure(), "the users' database does not answer now", os.EX_TEMPFAIL),
    ],
)
def test_an_error_of_one_user_has_words_and_a_status(error, text, status):
    assert excuse(error) == (text, status)


def test_a_fault_stays_one():
    with pytest.raises(KeyError):
        excuse(KeyError("x"))


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ([], 0),
        ([0, 0], 0),
        ([0, 1], 1),
        ([1, os.EX_CONFIG, 0], os.EX_CONFIG),
        ([os.EX_CONFIG, os.EX_TEMPFAIL, 1], os.EX_TEMPFAIL),
    ],
)
def test_what_may_be_different_later_counts_most(statuses, status):
    assert worst(statuses) == status


def test_a_user_that_the_machine_does_not_know_is_the_operator_s_to_mend():
    with Site() as site:
        told = run("quota", *settings(site, user="nosuchuser"), "alice")
    assert told.returncode == os.EX_CONFIG
    assert b'user: there is no user "nosuchuser"' in told.stderr


def test_a_user_whose_maildrop_is_nowhere_is_78_and_the_others_are_shown():
    with Site() as site:
        site.account("alice", extra="userdb_mail=nonsense:/x")
        site.account("bob")
        told = run("quota", *settings(site), "alice", "bob")
    assert told.returncode == os.EX_CONFIG
    assert told.stdout.startswith(b"bob: 0 octets")
    assert b"mailserver: alice: the mail location 'nonsense:/x' of 'alice' names no store" in told.stderr
