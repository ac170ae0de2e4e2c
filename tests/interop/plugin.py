"""fetchmail's ``--plugin``: carries its standard input and output to a port of this machine.

fetchmail speaks KPOP to the port that /etc/services calls "kpop", and Debian's has none; a plugin takes it anywhere.
"""

from __future__ import annotations

import os
import select
import socket
import sys


def main(port: int) -> None:
    server = socket.create_connection(("127.0.0.1", port))
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
