"""The flags, and what twist and twistd start."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.application.service import IServiceMaker
from twisted.copyright import version as twisted_version
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.plugin import getPlugins
from twisted.python.failure import Failure

from mailserver import __version__
from mailserver.cli.launch import Options, Program, makeService, raise_descriptor_limit
from mailserver.errors import ConfigError
from mailserver.service.failures import report

ROOT = Path(__file__).parent.parent
ENOUGH = ["--pop3=tcp:0", "--auth=memory:alice:wonderland"]


def settings(*arguments):
    options = Options()
    options.parseOptions([*ENOUGH, *arguments])
    return options.settings()


def test_twisted_finds_the_plugin_and_it_names_its_parts():
    (maker,) = [each for each in getPlugins(IServiceMaker) if each.tapname == "mailserver"]
    assert isinstance(maker.options(), Options)
    options = Options()
    options.parseOptions(ENOUGH)
    assert isinstance(maker.makeService(options), Program)


def test_importing_the_plugin_imports_nothing_of_ours():
    code = (
        "import sys, runpy; runpy.run_path(sys.argv[1]); print([m for m in sys.modules if m.startswith('mailserver')])"
    )
    plugin = ROOT / "twisted/plugins/mailserver_plugin.py"
    run = subprocess.run([sys.executable, "-P", "-c", code, plugin], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_every_flag_is_its_setting():
    config = settings(
        "--hostname=mail.example.org",
        "--workers=3",
        "--user=vmail",
        "--control=/run/control",
        "--pop3=tcp:1",
        "--pop3s=tcp:2",
        "--kpop=tcp:3",
        "--kpop=tcp:4",
        "--keytab=pop.keytab",
        "--tls-certificate=c",
        "--tls-key=k",
        "--tls-profile=old",
        "--auth=unix",
        "--cleartext=always",
        "--store=memory:",
        "--seen=retr",
        "--io=threads",
        "--log=json",
    )
    assert config.log == "json"
    assert (config.hostname, config.workers, config.user) == ("mail.example.org", 3, "vmail")
    assert (config.listen.pop3, config.listen.pop3s) == (("tcp:0", "tcp:1"), ("tcp:2",))
    assert config.listen.control == "/run/control"
    assert (config.listen.kpop, config.kerberos.keytab) == (("tcp:3", "tcp:4"), "pop.keytab")
    assert (config.tls.certificate, config.tls.key, config.tls.profile) == ("c", "k", "old")
    assert (config.auth.checkers, config.auth.cleartext) == (("memory:alice:wonderland", "unix"), "always")
    assert (config.store.url, config.store.seen, config.store.io) == ("memory:", "retr", "threads")


def test_a_flag_wins_over_the_file(tmp_path):
    (tmp_path / "file.toml").write_text('workers = 7\nhostname = "file"\n')
    config = settings(f"--config={tmp_path}/file.toml", "--workers=2")
    assert (config.workers, config.hostname) == (2, "file")


def test_a_wrong_configuration_makes_no_service_for_a_twistd_that_leaves_its_terminal(capfd):
    options = Options()
    options.parent = {"nodaemon": False}
    options.parseOptions(["--workers=many"])
    with pytest.raises(SystemExit) as ended:
        makeService(options)
    assert ended.value.code == os.EX_CONFIG
    assert len(capfd.readouterr().err.splitlines()) == 3


def test_a_right_one_makes_a_service():
    options = Options()
    options.parseOptions(ENOUGH)
    assert isinstance(makeService(options), Program)


def test_a_fault_of_ours_is_no_fault_of_the_configuration():
    assert report(Failure(ConfigError(["x"]))) == os.EX_CONFIG
    assert report(Failure(ZeroDivisionError())) == os.EX_SOFTWARE


def test_a_start_that_was_stopped_is_no_failure():
    options = Options()
    options.parseOptions(ENOUGH)
    program = Program(options, reactor)
    assert program._failed(Failure(CancelledError())) is None
    assert program._status is None


def test_as_many_descriptors_as_the_kernel_allows():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] // 2, before[1]))
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_version_is_ours_with_twisted_s_and_python_s(capsys):
    with pytest.raises(SystemExit) as ended:
        Options().parseOptions(["--version"])
    python = ".".join(map(str, sys.version_info[:3]))
    assert capsys.readouterr().out == f"mailserver {__version__} (Twisted {twisted_version}, Python {python})\n"
    assert ended.value.code == os.EX_OK


def test_every_kind_of_checker_of_ours_is_in_the_help(capsys, monkeypatch):
    monkeypatch.setattr(Options, "authOutput", sys.stdout)
    with pytest.raises(SystemExit):
        Options().parseOptions(["--help-auth"])
    told = capsys.readouterr().out
    assert all(f"  {kind}" in told for kind in ("passwd-file", "dovecot-auth", "kerberos-password", "oauth2", "unix"))
