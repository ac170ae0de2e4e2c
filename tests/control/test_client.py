"""The asking side, beside servers that turn it away, end early, or are none."""

import os
import socket
import threading
from math import inf
from types import SimpleNamespace

import pytest

from mailserver.control import client
from mailserver.control.client import Declined, NoServer, ask, follow
from mailserver.control.lines import line


@pytest.fixture
def answering(tmp_path):
    """A server that says these octets, before it reads or after it, and closes; more of them one connection after the other."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "control"))
        server.listen()
        threads = []

        def answer(several, *, reads):
            for octets in several:
                with server.accept()[0] as connected:
                    if reads:
                        connected.makefile("rb").readline()
                    connected.sendall(octets)

        def made(*several, reads=True):
            threads.append(threading.Thread(target=answer, args=(several,), kwargs={"reads": reads}))
            threads[-1].start()
            return str(tmp_path / "control")

        yield made
        for each in threads:
            each.join()


def test_rows_come_as_they_are_and_the_end_names_the_silent(answering):
    answer = ask(answering(line({"row": {"a": 1}}) + line({"row": {"a": 2}}) + line({"end": {"silent": [2]}})), "who")
    assert [row["a"] for row in answer.rows] == [1, 2]
    assert answer.silent == [2]


def test_who_is_turned_away_before_he_has_asked_hears_why(answering, monkeypatch):
    path = answering(line({"error": "no", "status": os.EX_NOPERM}), reads=False)
    monkeypatch.setattr(client, "line", lambda _: b"x" * 10_000_000)  # which is still on its way when the server closes
    with pytest.raises(Declined, match="no") as raised:
        ask(path, "who")
    assert raised.value.status == os.EX_NOPERM


@pytest.mark.parametrize("octets", [b"", b"GET / HTTP/1.1\n", b'{"row": {}}\n{"ro'])
def test_an_answer_without_an_end_is_no_answer(answering, octets):
    with pytest.raises(NoServer, match="in the middle of its answer"):
        ask(answering(octets), "who")


def test_lines_of_an_answer_that_goes_on_come_as_they_are_until_the_server_ends(answering):
    lines = [{"row": {"a": 1}}, {"left_out": 2}, {"lost": 3}]
    said = follow(answering(b"".join(map(line, lines)), b""), "trace", None)
    assert [next(said) for _ in lines] == lines
    with pytest.raises(NoServer, match="the server has ended"):
        next(said)


def test_a_server_that_has_followed_another_at_a_restart_is_asked_in_its_place(answering):
    said = follow(answering(line({"row": {"a": 1}}), line({"row": {"a": 2}}), b""), "trace", None)
    assert [next(said) for _ in range(3)] == [{"row": {"a": 1}}, {"lost": 0}, {"row": {"a": 2}}]
    with pytest.raises(NoServer, match="the server has ended"):
        next(said)


def test_a_process_that_ends_or_hangs_is_named_and_another_that_serves_there_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "SILENT_SECONDS", 0.01)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "control"))
        server.listen()
        said = follow(str(tmp_path / "control"), "trace", None)
        heard = []
        reader = threading.Thread(target=lambda: heard.extend(next(said) for _ in range(5)))
        reader.start()
        hung = server.accept()[0]
        hung.sendall(line({"alive": 1}) + line({"row": {"a": 1}}))
        ended = server.accept()[0]  # the question is not read, so the kernel resets the connection
        monkeypatch.undo()  # who ends is not to seem silent before
        ended.sendall(line({"alive": 2}) + line({"row": {"a": 2}}))
        ended.close()
        with server.accept()[0] as third:
            third.sendall(line({"alive": 3}) + line({"row": {"a": 3}}))
            reader.join()
        hung.close()
    assert heard == [{"row": {"a": 1}}, {"silent": 1}, {"row": {"a": 2}}, {"lost": 2}, {"row": {"a": 3}}]


def test_a_server_of_an_earlier_version_need_not_say_that_it_is_alive():
    following = client._Following(inf)
    assert following.left() == client.PATIENCE_SECONDS
    for said, left in (({"row": {}}, None), ({"row": {}}, None), ({"alive": 1}, client.SILENT_SECONDS)):
        assert following.is_news(said) is ("row" in said)
        assert following.left() == left


def test_a_refusal_ends_an_answer_that_would_go_on(answering):
    with pytest.raises(Declined, match="no"):
        list(follow(answering(line({"error": "no", "status": 77})), "trace", 60))


def test_an_answer_that_goes_on_is_left_when_the_time_is_over(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "control"))
        server.listen()
        assert list(follow(str(tmp_path / "control"), "trace", 0.05)) == []


def test_the_time_is_over_also_while_lines_come_without_a_pause(answering, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("mailserver.control.client.time", SimpleNamespace(monotonic=lambda: now[0]))
    said = follow(answering(line({"row": {}}) * 50), "trace", 60)
    assert next(said) == {"row": {}}
    now[0] += 61
    assert list(said) == []


def test_a_server_that_is_not_there_is_told_although_the_time_is_not_over(tmp_path):
    with pytest.raises(NoServer, match="nobody serves there"):
        list(follow(str(tmp_path / "control"), "trace", 60))


def test_a_path_that_no_socket_can_have_is_told(tmp_path):
    with pytest.raises(NoServer, match="too long"):
        ask(str(tmp_path / ("x" * 200)), "who")


def test_a_socket_of_others_has_the_status_of_rights(tmp_path, monkeypatch):
    def denied(_self, _address):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(client.socket.socket, "connect", denied)
    with pytest.raises(NoServer, match="only root, the user that serves and the socket's group may ask") as raised:
        ask(str(tmp_path / "control"), "who")
    assert raised.value.status == os.EX_NOPERM
