"""``python -m mailserver.demo.connect PORT``: connects standard input and output to a port of this machine.

It is a plugin for fetchmail's ``--plugin``. fetchmail uses KPOP only on the port named "kpop" in /etc/services, and Debian has
no such entry; by a plugin it reaches any port.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from contextlib import suppress


def main(port: int) -> None:
    """Carry octets both ways until one side ends; a reset is normal, since fetchmail closes TLS after the server has."""
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
