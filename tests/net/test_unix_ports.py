"""Listening Unix sockets of a hub: their files, over the end of whoever listened, and over many processes."""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IUNIXTransport
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

from mailserver.net import unix_ports
from mailserver.net.hub import Hub
from mailserver.net.unix_ports import AdoptedUNIXPort, _alone_in
from tests.net.test_hub import Hearing, Reactor, turn


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub(Reactor())
    yield hub
    hub.connectionLost(Failure(CONNECTION_DONE))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pop3"


def listen(hub: Hub, path: Path, factory: Hearing | None = None) -> Any:
    return hub.listenUNIX(os.fsencode(path), factory or Hearing(), mode=0o600)


def close(port: Any) -> None:
    port.stopReading()
    port.connectionLost(Failure(CONNECTION_DONE))


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


def abandon(path: Path) -> None:
    """What a process that is killed leaves."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()


def test_the_path_is_known_with_a_twisted_that_calls_it_otherwise(hub: Hub, path: Path) -> None:
    port = listen(hub, path)
    name = port.__dict__.pop("_bindPath", port.port)
    port.port = name  # as in Twisted 24.11
    assert port._path == os.fsencode(path)
    port.leave()
    port.own()
    assert port.made
    port._bindPath = name
    close(port)


def test_over_a_unix_socket(hub: Hub, path: Path) -> None:
    factory = Hearing()
    port = hub.listenUNIX(os.fsencode(path), factory, mode=0o600)
    assert not port.restrains
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.send(b"hello")
        while not (factory.made and factory.made[0].data):
            turn(hub)
        transport: Any = factory.made[0].transport
        assert IUNIXTransport.providedBy(transport)
        assert transport.reactor is hub
        assert transport.getPeer() == UNIXAddress(None)
        assert transport.getHost() == UNIXAddress(os.fsencode(path))
        transport.write(b"bye")
        transport.loseConnection()
        turn(hub)
        assert (client.recv(10), client.recv(10)) == (b"bye", b"")


def test_the_file_goes_with_the_port_and_nothing_lies_beside_it(hub: Hub, path: Path) -> None:
    port = listen(hub, path)
    assert list(path.parent.iterdir()) == [path]
    close(port)
    assert list(path.parent.iterdir()) == []


def test_what_a_killed_server_left_is_no_obstacle(hub: Hub, path: Path) -> None:
    abandon(path)
    assert not connects(path)
    listen(hub, path)
    assert connects(path)


def test_the_lock_of_an_older_server_that_was_killed_is_no_obstacle(hub: Hub, path: Path) -> None:
    abandon(path)
    path.with_name("pop3.lock").symlink_to(str(os.getpid()))  # in a container a server often has the number of the last
    listen(hub, path)
    assert connects(path)


def test_a_living_server_keeps_its_socket(hub: Hub, path: Path) -> None:
    factory = Hearing()
    first = listen(hub, path, factory)
    with pytest.raises(CannotListenError, match="in use"):
        listen(hub, path)
    assert connects(path)
    close(first)
    assert not path.exists()


def test_a_living_server_that_is_behind_keeps_its_socket(hub: Hub, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(CannotListenError, match="in use"):
            listen(hub, path)
    assert path.exists()


def test_of_two_servers_that_start_at_once_the_second_waits_until_the_first_listens(hub: Hub, path: Path) -> None:
    abandon(path)
    outcomes: list[object] = []
    hold = _alone_in(os.fsencode(path.parent))
    with hold:
        second = threading.Thread(target=lambda: outcomes.append(listen(hub, path)))
        second.start()
        second.join(0.05)  # a server that did not wait would be done long before
        assert outcomes == []
        assert not connects(path)
    second.join()
    assert len(outcomes) == 1


def test_who_holds_the_folder_s_lock_for_ever_is_told_of_and_holds_up_no_start(
    hub: Hub, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_ports, "_TRIES", 3)
    holder = os.open(path.parent, os.O_RDONLY)  # anybody who may read it can
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(CannotListenError, match="holds a lock on its folder"):
            listen(hub, path)
    finally:
        os.close(holder)
    assert connects(path) is False
    listen(hub, path)
    assert connects(path)


@pytest.mark.parametrize("kind", ["file", "folder", "datagrams"])
def test_what_is_no_socket_to_connect_to_stays(hub: Hub, path: Path, kind: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        if kind == "file":
            path.write_text("precious")
        elif kind == "folder":
            path.mkdir()
        else:
            other.bind(str(path))
        before = path.lstat()
        with pytest.raises(CannotListenError):
            listen(hub, path)
        assert path.lstat() == before


def test_another_server_s_socket_at_the_same_path_stays(hub: Hub, path: Path) -> None:
    first = listen(hub, path)
    path.unlink()
    second = listen(hub, path)
    close(first)
    assert connects(path)
    close(second)
    assert not path.exists()


def test_a_file_that_somebody_has_removed_is_not_missed(hub: Hub, path: Path) -> None:
    port = listen(hub, path)
    path.unlink()
    close(port)
    assert not port.connected


def test_an_abstract_name_has_no_file(hub: Hub, tmp_path: Path) -> None:
    name = f"\0{tmp_path}".encode()
    close(hub.listenUNIX(name, Hearing()))
    hub.listenUNIX(name, Hearing())


def test_who_adopts_a_socket_changes_neither_its_file_nor_how_many_may_wait(hub: Hub, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(path))
        path.chmod(0o640)
        passed.listen(100)
        passed.setblocking(False)
        factory = Hearing()
        port: Any = hub.adoptStreamPort(passed.fileno(), socket.AF_UNIX, factory)
        assert isinstance(port, AdoptedUNIXPort)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(90)]
        for client in waiting:
            client.setblocking(False)
            client.connect(str(path))  # Twisted's own allows 50
        while len(factory.made) < len(waiting):
            turn(hub)
        assert port.getHost() == UNIXAddress(os.fsencode(path))
        close(port)
        assert connects(path), "the others still serve"
        for client in waiting:
            client.close()
    assert path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_may_be_written_and_not_read_will_do() -> None:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o733)
        child = os.fork()
        if child == 0:
            try:
                os.setuid(pwd.getpwnam("nobody").pw_uid)
                listen(Hub(Reactor()), Path(folder) / "pop3")
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
