"""A server of socketserver's in a thread of its own."""

from __future__ import annotations

import socketserver
import threading
from typing import Self


class Threaded(socketserver.BaseServer):
    """It serves as long as a with-block goes on. Stands before the kind of server among the bases."""

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
