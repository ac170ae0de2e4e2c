"""Refusals, store errors, and what a client hears of either."""

import re

import pytest
from twisted.cred.error import LoginDenied, LoginFailed, UnauthorizedLogin, UnhandledCredentials

from mailserver import errors
from mailserver.auth.portal import Unserved
from mailserver.errors import AuthenticationFailed, ConfigError, Refusal, StoreError, TemporaryFailure, Unusable
from mailserver.interfaces import User
from mailserver.modules import unusable_for
from mailserver.refusals import refusal_for
from mailserver.smtp_errors import NoChunkSize, TextAsCommands, TooManyBadCommands


def family(base):
    """The class and all below it."""
    return [base, *(each for child in base.__subclasses__() for each in family(child))]


def made(kind):
    """One of this class."""
    given = {errors.TicketRefused: (37, "for the log alone"), errors.LoginTooSoon: (60,), Unserved: (User("alice"),)}
    return kind(*given.get(kind, ()))


OURS = [kind for kind in family(Refusal) if kind.__module__.startswith("mailserver.")]
CODES = {b"", b"AUTH", b"IN-USE", b"LOGIN-DELAY", b"SYS/TEMP", b"SYS/PERM"}


@pytest.mark.parametrize("kind", OURS)
def test_a_refusal_is_one_ascii_line_that_fits_rfc_2449(kind):
    line = made(kind).line
    assert re.fullmatch(rb"(?:\[[A-Z]+(?:[-/][A-Z]+)?\] )?[\x21-\x5a\x5c-\x7e][\x20-\x7e]*", line)
    assert len(b"-ERR %b\r\n" % line) <= 512


@pytest.mark.parametrize("kind", OURS)
def test_its_code_is_a_registered_one(kind):
    assert kind.code in CODES
    assert made(kind).line.startswith(b"[%b] " % kind.code if kind.code else kind.text)


@pytest.mark.parametrize("kind", OURS)
def test_it_has_a_code_of_smtp_with_an_enhanced_one_of_the_same_class(kind):
    assert re.fullmatch(rb"([45])[0-5][0-9] \1\.[0-7]\.[0-9]{1,2}", kind.smtp)
    assert b"\r" not in made(kind).said


def test_a_text_of_its_own_keeps_the_code():
    assert TemporaryFailure(b"too many connections").line == b"[SYS/TEMP] too many connections"
    assert Refusal(b"").line == b""


def test_it_shows_what_the_client_hears_and_its_class():
    shown = "AuthenticationFailed(b'[AUTH] authentication failed')"
    assert repr(AuthenticationFailed()) == str(AuthenticationFailed()) == shown
    assert AuthenticationFailed().args == ()


def test_what_kerberos_said_is_for_the_log_alone():
    refused = errors.TicketRefused(37, "clock skew of 400 s")
    assert refused.line == AuthenticationFailed().line
    assert (refused.error_code, refused.detail) == (37, "clock skew of 400 s")
    assert "skew" not in repr(refused)


def test_only_what_cannot_go_on_is_fatal():
    hopeless = {
        errors.LineTooLong,
        errors.TooManyExchanges,
        errors.WrongProtocol,
        NoChunkSize,
        TooManyBadCommands,
        TextAsCommands,
    }
    assert {kind for kind in OURS if kind.fatal} == hopeless


@pytest.mark.parametrize("kind", family(StoreError))
def test_of_a_store_error_the_client_hears_the_refusal_alone(kind):
    refusal = refusal_for(kind("/var/mail/alice: no space left on device"))
    assert type(refusal) is kind.refusal
    assert b"alice" not in refusal.line


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (errors.MaildropInUse, errors.InUse),
        (errors.MaildropUnavailable, errors.TemporaryFailure),
        (errors.NoMaildrop, errors.PermanentFailure),
        (errors.HomeUnknown, errors.PermanentFailure),
        (errors.MaildropCorrupt, errors.PermanentFailure),
        (errors.OutcomeUnknown, errors.TemporaryFailure),
        (errors.MessageGone, errors.MessageUnavailable),
        (errors.MessageTruncated, errors.TemporaryFailure),
    ],
)
def test_which_refusal_stands_for_which_store_error(error, refusal):
    assert error.refusal is refusal


@pytest.mark.parametrize("kind", [UnauthorizedLogin, LoginFailed, LoginDenied, UnhandledCredentials])
def test_every_failed_login_of_cred_sounds_the_same(kind):
    assert refusal_for(kind("no user alice")).line == AuthenticationFailed().line


def test_a_refusal_is_passed_on_as_it_is():
    refusal = Refusal(b"text")
    assert refusal_for(refusal) is refusal


@pytest.mark.parametrize("error", [None, OSError("/etc/shadow"), KeyError("alice"), KeyboardInterrupt()])
def test_a_fault_of_ours_is_nothing_the_client_hears(error):
    assert refusal_for(error) is None


@pytest.mark.parametrize(
    ("error", "problems"),
    [
        (Unusable("the table is upside down; turn it over"), ("the table is upside down; turn it over",)),
        (ConfigError(["user: one", "tls: two"]), ("user: one", "tls: two")),
        (ConfigError([]), ()),
        (PermissionError(13, "Permission denied", "/mail"), ("/mail: Permission denied",)),
        (OSError(28, "No space left on device"), ("No space left on device",)),
        (OSError("timed out"), ("timed out",)),
        (OSError(), ("OSError()",)),
        (LookupError("no such plugin"), ("no such plugin",)),
    ],
)
def test_the_operator_hears_what_he_can_mend_in_words(error, problems):
    assert unusable_for(error, LookupError).problems == problems


@pytest.mark.parametrize("error", [ValueError("a slip"), StoreError("full"), Refusal(), KeyError("a slip")])
def test_every_other_error_of_a_start_is_a_fault(error):
    assert unusable_for(error) is None


def test_the_three_families_share_no_error():
    families = [set(family(base)) for base in (Refusal, StoreError, Unusable)]
    assert sum(map(len, families)) == len(set.union(*families))
