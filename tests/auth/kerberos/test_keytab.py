"""What the start says of a keytab and of the replay cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from twisted.logger import capturedLogs

from mailserver.auth.kerberos.keytab import check_keytab, service_host
from mailserver.auth.kerberos.krb5 import Krb5
from mailserver.auth.kerberos.libkrb5 import KerberosUnavailable
from mailserver.auth.kerberos.replay_cache import check_replay_cache
from tests.realm import Realm

NOBODY = 65534


@pytest.fixture
def krb5(realm: Realm) -> Krb5:
    return Krb5()


@pytest.fixture
def as_nobody():
    """Files are opened as a user without rights, which only root can become."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user for a test")
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)


def complaint(check, *arguments) -> str:
    with pytest.raises(KerberosUnavailable) as caught:
        check(*arguments)
    return str(caught.value)


def test_a_good_keytab_tells_whom_it_serves(krb5: Krb5, realm: Realm) -> None:
    with capturedLogs() as events:
        assert check_keytab(krb5, str(realm.keytab), "localhost") == ["pop/localhost@KPOP.TEST"]
        assert len(check_keytab(krb5, str(realm.keytab), "")) == 2
    assert events == []


def test_only_a_complaint_asks_for_the_name_of_this_machine(
    krb5: Krb5, realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may wait for the DNS."""
    monkeypatch.setattr("socket.getfqdn", lambda: "asked.example.org")
    assert "pop/asked.example.org" in complaint(check_keytab, krb5, "/nowhere/pop.keytab", "")
    monkeypatch.setattr("socket.getfqdn", lambda: pytest.fail("asked"))
    check_keytab(krb5, str(realm.keytab), "")


def test_a_missing_keytab_comes_with_the_line_that_makes_one(krb5: Krb5) -> None:
    said = complaint(check_keytab, krb5, "/nowhere/pop.keytab", "mail.example.org")
    assert 'kadmin -q "ktadd -k /nowhere/pop.keytab pop/mail.example.org"' in said


def test_a_keytab_without_a_key_for_us_says_what_it_has(krb5: Krb5, realm: Realm) -> None:
    said = complaint(check_keytab, krb5, str(realm.keytab), "elsewhere")
    assert "no key of pop/elsewhere, only of pop/localhost@KPOP.TEST, pop/mail.kpop.test@KPOP.TEST, host/" in said


@pytest.mark.parametrize("content", [b"rubbish, and more of it", b"\x05\x09"])
def test_what_is_no_keytab_is_called_so(krb5: Krb5, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keytab").write_bytes(content)
    assert "is not a keytab" in complaint(check_keytab, krb5, str(tmp_path / "keytab"), "")


def test_a_folder_cannot_be_read(krb5: Krb5, tmp_path: Path) -> None:
    assert "Is a directory" in complaint(check_keytab, krb5, str(tmp_path), "")


def test_a_keytab_that_is_not_ours_to_read_comes_with_the_remedy(krb5: Krb5, realm: Realm, as_nobody: None) -> None:
    said = complaint(check_keytab, krb5, str(realm.keytab), "")
    assert "the user nobody cannot read the keytab" in said
    assert "setfacl -m u:nobody:r" in said


def test_a_keytab_that_everybody_can_read_is_told_of(krb5: Krb5, realm: Realm, tmp_path: Path) -> None:
    keytab = Path(shutil.copy(realm.keytab, tmp_path / "keytab"))
    keytab.chmod(0o644)
    with capturedLogs() as events:
        check_keytab(krb5, str(keytab), "")
    assert [event["event"] for event in events] == ["kerberos.keytab.open"]


def test_a_host_is_in_lower_case_in_its_principal() -> None:
    assert service_host("Mail.Example.ORG") == "mail.example.org"


@pytest.mark.parametrize(
    "setting", [{"KRB5RCACHENAME": "none:"}, {"KRB5RCACHETYPE": "none"}, {"KRB5RCACHENAME": "none:of it"}]
)
def test_there_must_be_a_replay_cache(krb5: Krb5, monkeypatch: pytest.MonkeyPatch, setting: dict[str, str]) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    assert "an eavesdropper can replay a login" in complaint(check_replay_cache, krb5)


def test_krb5_conf_cannot_switch_it_off_either(realm: Realm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "krb5.conf"
    config.write_text("[libdefaults]\ndefault_rcache_name = none:\n" + realm.config.read_text())
    monkeypatch.setenv("KRB5_CONFIG", str(config))
    assert "an eavesdropper can replay a login" in complaint(check_replay_cache, Krb5())


def test_it_must_be_writable(krb5: Krb5, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_replay_cache(krb5)
    monkeypatch.setenv("KRB5RCACHEDIR", str(tmp_path / "gone"))
    said = complaint(check_replay_cache, krb5)
    assert str(tmp_path / "gone" / f"krb5_{os.geteuid()}.rcache2") in said
    assert "set KRB5RCACHEDIR" in said
    monkeypatch.setenv("KRB5RCACHENAME", f"file2:{tmp_path}/gone/cache")
    assert f"{tmp_path}/gone/cache" in complaint(check_replay_cache, krb5)
    monkeypatch.setenv("KRB5RCACHENAME", f"file2:{tmp_path}/cache")
    check_replay_cache(krb5)


def test_it_is_found_where_libkrb5_looks(krb5: Krb5, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KRB5RCACHEDIR")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    check_replay_cache(krb5)
    assert [path.name for path in tmp_path.iterdir()] == [f"krb5_{os.geteuid()}.rcache2"]


def test_somebody_elses_is_not_taken(krb5: Krb5, monkeypatch: pytest.MonkeyPatch, as_nobody: None) -> None:
    with tempfile.TemporaryDirectory() as folder:  # nobody's own, with a file of root's in it
        monkeypatch.setenv("KRB5RCACHEDIR", folder)
        monkeypatch.setenv("KRB5RCACHETYPE", "dfl")  # lest krb5.conf is looked at, which nobody cannot read here
        os.seteuid(0)
        cache = Path(folder) / f"krb5_{NOBODY}.rcache2"
        cache.touch()
        cache.chmod(0o666)
        os.seteuid(NOBODY)
        assert "does not belong to the user nobody: remove it" in complaint(check_replay_cache, krb5)


def test_what_libkrb5_expands_is_left_to_it(krb5: Krb5, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5RCACHENAME", "file2:%{nowhere}/cache")
    check_replay_cache(krb5)
