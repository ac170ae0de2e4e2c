"""``python -m mailserver.demo.connect PORT``: standard input and output become a connection to a port of this machine.

It is for fetchmail's ``--plugin``. fetchmail speaks KPOP to the port that /etc/services calls "kpop" and to no other, and Debian
calls none so; a plugin takes it to any.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from contextlib import suppress


def main(port: int) -> None:
    """Carry octets both ways until one side ends. The reset: fetchmail says goodbye in TLS to a server that has closed."""
    with socket.create_connection(("127.0.0.1", port)) as server, suppress(ConnectionError):
        roads = {sys.stdin.fileno(): server.fileno(), server.fileno(): sys.stdout.fileno()}
        while True:
            for source in select.select(list(roads), [], [])[0]:
                data = os.read(source, 1 << 16)
                if not data:
                    return
                while data:
                    data = data[os.write(roads[source], data) :]


if __name__ == "__main__":
    main(int(sys.argv[1]))
