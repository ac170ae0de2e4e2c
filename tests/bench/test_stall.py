"""bench/stall.py: what others wait for while a maildrop is opened."""

import os
import socketserver
import threading
from types import SimpleNamespace

import pytest

from bench.stall import Prober, Waits


class Agreeable(socketserver.StreamRequestHandler):
    """A POP3 server that says +OK to everything."""

    def handle(self):
        self.wfile.write(b"+OK\r\n")
        for _ in self.rfile:
            self.wfile.write(b"+OK\r\n")


@pytest.fixture
def prober():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Agreeable) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        account = SimpleNamespace(pids=lambda: [os.getpid()])
        made = Prober(SimpleNamespace(port=server.server_address[1], account=account), 0)
        yield made
        made.socket.close()
        for task in made.tasks:
            os.close(task)
        server.shutdown()


def test_a_login_that_ends_before_the_first_noop_has_figures_all_the_same(prober):
    ended = threading.Event()
    ended.set()
    assert Waits.of(0.001, 0.001, prober.until(ended)).commands == 1
