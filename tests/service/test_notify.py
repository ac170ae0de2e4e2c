"""What systemd is told: by the process that a unit starts, and by the Notifier alone."""

import os
import socket
import tempfile
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from mailserver.service.notify import AGAIN_SECONDS, Notifier
from tests.servers import START_SECONDS, TWIST, TWISTD, Server, Site

WATCHDOG_USEC = "4000000"
"""A word each two seconds, the first at once: a queue of ten, which nobody reads while a busy machine stops the server, has room
for what is said at the end.
"""


@pytest.fixture(params=["path", "abstract"])
def systemd(request):
    """A socket like systemd's, and the value of NOTIFY_SOCKET that leads to it."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        name = str(Path(folder, "notify"))
        receiver.bind(name if request.param == "path" else f"\0{name}")
        receiver.settimeout(START_SECONDS)
        yield receiver, name if request.param == "path" else f"@{name}"


def heard(receiver):
    return receiver.recv(4096).decode().splitlines()


def until(receiver, wanted):
    """What is said until `wanted` is, which is the last; the watchdog's words may be among them."""
    said = []
    while wanted not in said:
        said += heard(receiver)
    return said


@pytest.mark.parametrize("program", [TWIST, TWISTD], ids=["twist", "twistd"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_unit_hears_of_a_start_a_reload_and_a_stop(systemd, monkeypatch, program, workers):
    receiver, address = systemd
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", WATCHDOG_USEC)
    with Site() as site, Server(site, program=program, workers=workers) as server:
        (status,) = [line for line in until(receiver, "READY=1") if line.startswith("STATUS=")]
        assert status == f"STATUS=serving 127.0.0.1:{server.pop3_port}, 127.0.0.1:{server.pop3s_port}"
        until(receiver, "WATCHDOG=1")
        server.reload()
        reloading = until(receiver, "READY=1")
        assert "RELOADING=1" in reloading
        assert any(line.startswith("MONOTONIC_USEC=") for line in reloading)
        server.wait_for_text("certificates and users are read again")
        server.stop()
        assert "READY=1" not in until(receiver, "STOPPING=1")


class Service:
    alive = True


def notifier(address, **environment):
    service, clock = Service(), Clock()
    variables = {"NOTIFY_SOCKET": address, **environment}
    return Notifier(variables, clock, lambda: service.alive), service, clock, variables


def test_the_watchdog_hears_nothing_while_nobody_serves(systemd):
    receiver, address = systemd
    told, service, clock, _ = notifier(address, WATCHDOG_USEC="10000000", WATCHDOG_PID=str(os.getpid()))
    told.reloading()
    told.reloaded()
    told.ready("x")
    assert heard(receiver) == ["READY=1", "STATUS=x"]
    service.alive = False
    assert heard(receiver) == ["WATCHDOG=1"]
    clock.advance(5)
    service.alive = True
    clock.advance(5)
    told.close()
    clock.advance(5)
    told.reloaded()
    told.stopping()
    assert [heard(receiver), heard(receiver)] == [["WATCHDOG=1"], ["STOPPING=1"]]


def test_no_child_and_no_other_process_speaks_for_us(systemd):
    _, address = systemd
    told, _, clock, variables = notifier(address, WATCHDOG_USEC="10000000", WATCHDOG_PID="1")
    assert variables == {}
    told.ready("x")
    assert clock.getDelayedCalls() == []


def test_without_a_listener_nothing_is_said():
    told, _, clock, _ = notifier("")
    told.ready("x")
    told.stopping()
    told.close()
    assert clock.getDelayedCalls() == []


def test_a_socket_that_is_not_there_is_told_once():
    told, *_ = notifier("/nowhere/notify")
    with capturedLogs() as events:
        told.ready("x")
        told.stopping()
    assert [event["event"] for event in events] == ["notify.failed"]


def test_a_queue_that_is_full_is_tried_again(systemd):
    receiver, address = systemd
    told, _, clock, _ = notifier(address)
    while not clock.getDelayedCalls():
        told.stopping()
    heard(receiver)
    clock.advance(AGAIN_SECONDS)
    assert clock.getDelayedCalls() == []
