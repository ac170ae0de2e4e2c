"""One thread's libkrb5 against a real realm."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailserver.auth.kerberos.krb5 import Krb5, UnprovenKdc
from mailserver.auth.kerberos.libkrb5 import KerberosError
from tests.realm import Initiator, Realm, _libkrb5, ap_req, password_of

EXPIRED, REPLAY, NOT_US, SKEW, BAD_INTEGRITY = 32, 34, 35, 37, 31
MSG_TYPE, NOKEY, GENERIC = 40, 45, 60

ELSEWHERE = "import sys; from mailserver.auth.kerberos.krb5 import Krb5; Krb5().accept(sys.stdin.buffer.read(), sys.argv[1], '')"


@pytest.fixture
def krb5(realm: Realm) -> Krb5:
    return Krb5()


def refusal(krb5: Krb5, request: bytes, keytab: Path, host: str = "") -> int:
    with pytest.raises(KerberosError) as caught:
        krb5.accept(request, str(keytab), host)
    return caught.value.code


def test_a_ticket_names_its_client_and_the_server_proves_itself(krb5: Krb5, realm: Realm) -> None:
    with Initiator(realm) as client:
        principal, ap_rep = krb5.accept(client.ap_req, str(realm.keytab), "")
        assert principal == "alice@KPOP.TEST"
        assert ap_rep is not None
        client.check(ap_rep)


def test_who_does_not_ask_for_proof_gets_none(krb5: Krb5, realm: Realm) -> None:
    assert krb5.accept(ap_req(realm, "bob", mutual=False), str(realm.keytab), "") == ("bob@KPOP.TEST", None)


def test_names_come_as_kerberos_writes_them(krb5: Krb5, realm: Realm) -> None:
    realm.kadmin('addprinc -pw "sesame of märta" märta', r'addprinc -pw "sesame of a\@b" a\@b')
    for user in ("alice/admin", "märta", r"a\@b"):
        assert krb5.accept(ap_req(realm, user), str(realm.keytab), "")[0] == f"{user}@KPOP.TEST"


@pytest.mark.parametrize(
    ("host", "service", "code"),
    [
        ("", "pop/localhost", None),
        ("", "pop/mail.kpop.test", None),
        ("", "host/localhost", NOT_US),
        ("localhost", "pop/localhost", None),
        ("localhost", "pop/mail.kpop.test", NOT_US),
        ("localhost", "host/localhost", NOT_US),
        ("local", "pop/localhost", NOKEY),
    ],
)
def test_only_keys_of_pop_are_used(krb5: Krb5, realm: Realm, host: str, service: str, code: int | None) -> None:
    request = ap_req(realm, service=service)
    if code is None:
        assert krb5.accept(request, str(realm.keytab), host)[0] == "alice@KPOP.TEST"
    else:
        assert refusal(krb5, request, realm.keytab, host) == code


def test_a_request_is_taken_once(krb5: Krb5, realm: Realm) -> None:
    request = ap_req(realm)
    krb5.accept(request, str(realm.keytab), "")
    assert refusal(krb5, request, realm.keytab) == REPLAY
    assert refusal(Krb5(), request, realm.keytab) == REPLAY


def test_processes_share_what_they_have_seen(krb5: Krb5, realm: Realm) -> None:
    seen_here, seen_there = ap_req(realm), ap_req(realm)
    krb5.accept(seen_here, str(realm.keytab), "")
    command = [sys.executable, "-c", ELSEWHERE, str(realm.keytab)]
    taken = subprocess.run(command, input=seen_there, capture_output=True, check=False)
    assert taken.returncode == 0, taken.stderr
    again = subprocess.run(command, input=seen_here, capture_output=True, check=False)
    assert again.returncode == 1
    assert b"Request is a replay" in again.stderr
    assert refusal(krb5, seen_there, realm.keytab) == REPLAY


def test_a_wrong_clock_is_refused(krb5: Krb5, realm: Realm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(krb5, ap_req(realm, skew=1000), realm.keytab) == SKEW
    monkeypatch.setenv("KRB5_CONFIG", str(realm.configuration("strict.conf", clockskew=60)))
    assert refusal(Krb5(), ap_req(realm, skew=-200), realm.keytab) == SKEW


def test_an_expired_ticket_is_refused(realm: Realm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both clocks go ahead, and nobody waits. The client itself is lenient for 300 s, and so sends the ticket.
    realm.kinit("alice", tmp_path / "tickets", "-l", "20s", "-S", "pop/localhost")
    monkeypatch.setenv("KRB5_CONFIG", str(realm.configuration("exact.conf", clockskew=5)))
    krb5 = Krb5()
    for skew in (10, 200):
        context = ctypes.cast(krb5._context, ctypes.c_void_p)
        _libkrb5().krb5_set_real_time(context, int(time.time()) + skew, 0)
        request = ap_req(realm, tmp_path / "tickets", skew=skew)
        if skew < 20:
            krb5.accept(request, str(realm.keytab), "")
        else:
            assert refusal(krb5, request, realm.keytab) == EXPIRED


def test_tickets_of_other_realms_are_refused(krb5: Krb5, realm: Realm) -> None:
    for name, code in (("OTHER.TEST", NOT_US), ("KPOP.TEST", BAD_INTEGRITY)):
        other = Realm(name)
        try:
            assert refusal(krb5, ap_req(other), realm.keytab) == code
        finally:
            other.stop()


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"", MSG_TYPE),
        (b"n", GENERIC),
        (b"rubbish", MSG_TYPE),
        (b"\x16\x03\x01", MSG_TYPE),
        (b"n\x84\xff\xff\xff\xff", GENERIC),
        (b"n" * 128 * 1024, GENERIC),
        (b"\0" * 128 * 1024, MSG_TYPE),
    ],
)
def test_what_is_no_request_is_refused(krb5: Krb5, realm: Realm, request_: bytes, code: int) -> None:
    assert refusal(krb5, request_, realm.keytab) == code


def test_a_request_that_was_tampered_with_is_refused(krb5: Krb5, realm: Realm) -> None:
    request = ap_req(realm)

    @settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(0, len(request) - 1), st.integers(1, 255), st.booleans())
    def check(place: int, change: int, cut: bool) -> None:
        changed = request[:place] if cut else bytes([*request[:place], request[place] ^ change, *request[place + 1 :]])
        try:
            principal, _ = krb5.accept(changed, str(realm.keytab), "")
        except KerberosError:
            return
        # What is neither encrypted nor checked: options, and names that the key has the last word on.
        assert principal == "alice@KPOP.TEST"

    check()


@pytest.mark.parametrize("content", [None, b"", b"rubbish", b"\x05\x02"])
def test_without_keys_nothing_is_taken(krb5: Krb5, realm: Realm, tmp_path: Path, content: bytes | None) -> None:
    keytab = tmp_path / "keytab"
    if content is not None:
        keytab.write_bytes(content)
    assert refusal(krb5, ap_req(realm), keytab) in {NOKEY, NOT_US, GENERIC}


def test_new_keys_count_at_once(krb5: Krb5, realm: Realm, tmp_path: Path) -> None:
    service, keytab, tickets = "pop/rotation.kpop.test", tmp_path / "keytab", tmp_path / "tickets"
    realm.kadmin(f"addprinc -randkey {service}")
    realm.extract(keytab, service)
    realm.kinit("alice", tickets)
    krb5.accept(ap_req(realm, tickets, service), str(keytab), "")
    realm.extract(keytab, service, rotate=True)  # which leaves the old key in the file
    krb5.accept(ap_req(realm, tickets, service), str(keytab), "")
    realm.kinit("alice", tickets)
    krb5.accept(ap_req(realm, tickets, service), str(keytab), "")
    keytab.unlink()
    realm.extract(keytab, service, rotate=True)
    assert refusal(krb5, ap_req(realm, tickets, service), keytab) == 44  # a key version that is not there
    realm.kinit("alice", tickets)
    krb5.accept(ap_req(realm, tickets, service), str(keytab), "")


def test_an_error_does_not_bring_the_words_of_an_earlier_one(krb5: Krb5, realm: Realm, tmp_path: Path) -> None:
    with pytest.raises(KerberosError, match="/first"):
        krb5.accept(ap_req(realm), "/first", "")
    with pytest.raises(KerberosError) as caught:
        krb5.accept(ap_req(realm), "/dev", "")
    assert "/first" not in str(caught.value)


def test_a_keytabs_principals_are_told_apart(krb5: Krb5, realm: Realm) -> None:
    keytab = str(realm.keytab)
    pop = ["pop/localhost@KPOP.TEST", "pop/mail.kpop.test@KPOP.TEST"]
    assert krb5.keys(keytab, "") == (pop, ["host/localhost@KPOP.TEST"])
    assert krb5.keys(keytab, "mail.kpop.test") == (pop[1:], [pop[0], "host/localhost@KPOP.TEST"])
    with pytest.raises(KerberosError):
        krb5.keys("/nowhere", "")


@pytest.mark.parametrize(
    ("principal", "user"),
    [
        ("alice@KPOP.TEST", "alice"),
        ("root@KPOP.TEST", "root"),
        ("alice/admin@KPOP.TEST", None),
        ("alice@OTHER.TEST", None),
        ("a@b@KPOP.TEST", None),
        ("x" * 300 + "@KPOP.TEST", None),
    ],
)
def test_local_names_are_those_of_the_own_realm(krb5: Krb5, principal: str, user: str | None) -> None:
    assert krb5.local_name(principal) == user


def test_the_rules_of_krb5_conf_count(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = r"""
    auth_to_local = RULE:[2:$1;$2](^.*;admin$)s/;admin$//
    auth_to_local = RULE:[1:$1@$0](^.*@OTHER\.TEST$)s/@.*//
    auth_to_local = DEFAULT
    """
    monkeypatch.setenv("KRB5_CONFIG", str(realm.configuration("rules.conf", local=rules)))
    krb5 = Krb5()
    assert krb5.local_name("alice/admin@KPOP.TEST") == "alice"
    assert krb5.local_name("carol@OTHER.TEST") == "carol"
    assert krb5.local_name("bob@KPOP.TEST") == "bob"


def test_users_of_the_system_let_in_whom_they_will(krb5: Krb5) -> None:
    assert krb5.user_ok("root@KPOP.TEST", "root")
    assert not krb5.user_ok("alice@KPOP.TEST", "root")
    assert not krb5.user_ok("alice@KPOP.TEST", "no such user")


def test_settings_of_krb5_conf_can_be_read(krb5: Krb5) -> None:
    assert krb5.default_realm() == "KPOP.TEST"
    assert krb5.setting("clockskew") == "300"
    assert krb5.setting("default_rcache_name") == ""


def test_the_kdc_checks_a_password_and_the_keytab_the_kdc(krb5: Krb5, realm: Realm) -> None:
    service, keytab = "pop/localhost@KPOP.TEST", str(realm.keytab)
    krb5.check_password("alice", password_of("alice").encode(), service, keytab)
    with pytest.raises(KerberosError) as caught:
        krb5.check_password("alice", b"wrong", service, keytab)
    assert not isinstance(caught.value, UnprovenKdc)
    for without in ("/nowhere", "/dev/null"):
        with pytest.raises(UnprovenKdc):
            krb5.check_password("alice", password_of("alice").encode(), service, without)


def test_a_context_is_freed_once(realm: Realm) -> None:
    krb5 = Krb5()
    krb5.close()
    krb5.close()
    del krb5
