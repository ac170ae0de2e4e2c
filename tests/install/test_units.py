"""systemd's own word on our units; tests/install/test_debian.py starts them."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from mailserver.config.kinds import KINDS

UNITS = Path(__file__).parents[2] / "etc/systemd"
SERVICE = UNITS / "mailserver.service"
SOCKETS = sorted(UNITS.glob("*.socket"))

EXPOSURE = 2.0
"""Of 10. A server for everybody has 1.0 of it by being one: it needs the network, and cannot know its clients' addresses."""

AS_ROOT_EXPOSURE = 3.5
"""It binds, reads /etc/shadow and becomes another user."""


@pytest.fixture
def analyze(tmp_path):
    """systemd-analyze, on copies of the units and with these drop-ins."""
    if shutil.which("systemd-analyze") is None:
        absent = pytest.fail if os.environ.get("TEST_PACKAGES") == "installed" else pytest.skip
        absent("systemd is missing")

    def run(command, *options, units=(SERVICE,), drop_in=None):
        paths = [shutil.copy(each, tmp_path) for each in units]
        if drop_in is not None:
            folder = tmp_path / "mailserver.service.d"
            folder.mkdir(exist_ok=True)
            shutil.copy(drop_in, folder)
        done = subprocess.run(
            ["systemd-analyze", command, *options, *paths], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def exposure(told):
    return float(re.search(r"Overall exposure level for mailserver.service: ([\d.]+)", told)[1])


def values(path, name):
    return re.findall(rf"^{name}=(.*)$", path.read_text("utf-8"), re.MULTILINE)


def test_the_service_has_little_that_an_intruder_could_use(analyze):
    assert exposure(analyze("security", "--offline=true")) < EXPOSURE


def test_with_pam_it_begins_as_root_and_has_more_but_not_much(analyze):
    told = exposure(analyze("security", "--offline=true", drop_in=UNITS / "pam.conf"))
    assert EXPOSURE < told < AS_ROOT_EXPOSURE


def test_systemd_finds_no_fault_with_the_units(analyze):
    assert analyze("verify", "--man=no", units=(SERVICE, *SOCKETS)) == ""


def test_each_kind_of_port_for_people_has_a_socket_whose_name_its_setting_can_give():
    assert {each.stem for each in SOCKETS} == {"mailserver-pop3", "mailserver-pop3s", "mailserver-kpop"}
    for each in SOCKETS:
        kind = KINDS[each.stem.removeprefix("mailserver-")]
        assert values(each, "ListenStream") == [f"[::]:{kind.port}"]
        assert values(each, "FileDescriptorName") == [kind.name]
        assert values(each, "Service") == [SERVICE.name]
        (line,) = [line for line in each.read_text("utf-8").splitlines() if " = [" in line]
        assert tomllib.loads(line.removeprefix("# ")) == {kind.name: [f"systemd:domain=INET6:name={kind.name}"]}


def test_the_service_says_what_the_server_needs_of_systemd():
    assert values(SERVICE, "Type") == ["notify"]
    assert values(SERVICE, "RestartPreventExitStatus") == [str(os.EX_CONFIG)]
    (start,) = values(SERVICE, "ExecStart")
    assert "--ignore-signal=HUP,USR1,USR2 " in start
    assert values(SERVICE, "KillMode") == ["mixed"], (
        "else a worker that is told to end looks to its parent like one that died"
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("MemoryDenyWriteExecute", "pyOpenSSL's callbacks: TLS could not start"),
        ("ProcSubset", "/proc/locks: who holds a maildrop's lock could not be told"),
        ("PrivateUsers", "who asks at the operators' socket would be nobody"),
    ],
)
def test_nothing_is_taken_from_the_server_that_it_needs(name, why):
    assert values(SERVICE, name) == [], why
