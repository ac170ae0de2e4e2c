"""The operators' sockets: where they are, whose, and what becomes of a setting that cannot be."""

import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mailserver.errors import ConfigError
from mailserver.service.control import path_of
from tests.cli.running import ROOT, environment

PROGRAM = """
import os, sys
from pathlib import Path
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from mailserver.config.reading import load
from mailserver.service.closing import close_ports
from mailserver.service.control import bind_control

async def bind(reactor):
    bound = await bind_control(load(sys.argv[1], {}), reactor, 2)
    for each in bound:
        status = Path(each.address).stat()
        print(os.path.basename(each.address), status.st_uid, oct(status.st_mode & 0o7777))
    await close_ports(each.port for each in bound)

react(lambda reactor: Deferred.fromCoroutine(bind(reactor)))
"""


def bound(folder, control, *before, user=""):
    settings = folder / "settings.toml"
    settings.write_text(
        f'user = "{user}"\n[auth]\ncheckers = ["passwd-file:/users"]\n[listen]\npop3 = ["tcp:110"]\npop3s = []\ncontrol = "{control}"\n'
    )
    command = [*before, sys.executable, "-P", "-c", PROGRAM, str(settings)]
    told = subprocess.run(command, env=environment(), capture_output=True, check=False, timeout=60)
    assert told.returncode == 0, told.stderr
    return [line.split() for line in told.stdout.decode().splitlines()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_the_rights_of_a_unit_that_begins_as_root_suffice_to_give_them_to_the_user_that_serves(tmp_path):
    unit = (Path(ROOT) / "etc/systemd/pam.conf").read_text("utf-8")
    names = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)[0].split()
    kept = "".join(f",+{name.removeprefix('CAP_').lower()}" for name in names)
    limited = ["setpriv", "--no-new-privs", f"--bounding-set=-all{kept}"]
    uid = str(pwd.getpwnam("nobody").pw_uid)
    found = bound(tmp_path, tmp_path / "control", *limited, user="nobody")
    assert found == [["control", uid, "0o600"], ["control.1", uid, "0o600"], ["control.2", uid, "0o600"]]


@pytest.mark.parametrize("options", [":mode=660", ":660"])
def test_a_mode_is_for_the_socket_of_all_alone(tmp_path, options):
    modes = [mode for _name, _uid, mode in bound(tmp_path, f"unix:{tmp_path}/control{options}")]
    assert modes == ["0o660", "0o600", "0o600"]


def test_the_path_is_that_of_the_setting():
    assert path_of("/run/x:mode=660") == path_of("unix:/run/x") == "/run/x"
    assert path_of("/run/a\\:b\\=c\\\\d:mode=660") == "/run/a:b=c\\d"
    with pytest.raises(ConfigError, match='must begin with "/"'):
        path_of("run/x")
