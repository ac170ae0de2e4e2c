"""The Debian package, built, looked at and used on Debian 13; with TEST_DEBIANS alone, as it takes minutes and a network."""

import os
import shutil
import tarfile

import pytest

from tests.install.debian import TREES, Debian
from tests.test_packaging import AS_DATA, sdist

__all__ = ["sdist"]

pytestmark = [
    pytest.mark.skipif(not TREES, reason="takes minutes and a network: TEST_DEBIANS names a folder for its trees"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make and boot a tree"),
]

SUITE = "trixie"
"""The first release whose Twisted is new enough."""

BUILD = """
cat >/etc/apt/apt.conf.d/few <<END
APT::Install-Recommends "no";
END
apt-get update -qq
apt-get install -qq build-essential lintian
cd /root/source
apt-get build-dep -qq ./
dpkg-buildpackage --unsigned-source --unsigned-changes
lintian --fail-on error,warning ../*.changes
"""

USE = """
set -eux
apt-get update -qq
apt-get install -qq --no-install-recommends autopkgtest /root/dist/*.deb
test "$(systemctl is-enabled mailserver) $(systemctl is-active mailserver)" = "enabled inactive"
autopkgtest --ignore-restrictions=isolation-container --no-built-binaries /root/source /root/dist/*.deb -- null
apt-get install -qq --reinstall /root/dist/*.deb
systemctl is-active mailserver
apt-get remove -qq mailserver
test "$(systemctl is-active mailserver)" = inactive
test -e /etc/mailserver/users -a -d /var/vmail/alice
"""


@pytest.fixture
def source(sdist, tmp_path):
    """What a packager unpacks."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, **AS_DATA)
    return next(tmp_path.iterdir())


def test_the_package_is_built_without_a_complaint_and_serves_by_autopkgtest_s_rules(source, tmp_path):
    with Debian.bare(SUITE) as builder, Debian.bare(SUITE) as user:
        for each in (builder, user):
            shutil.copytree(source, each.root / "root/source", symlinks=True)
        builder.run(BUILD)
        (built,) = (builder.root / "root").glob("mailserver_*.deb")
        user.put("/root/dist", built)
        said = user.boot(USE)
    assert "\nserves               PASS\n" in said, said
