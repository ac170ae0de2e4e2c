"""What a large message costs the kernel in a server that has run for a while: pages that the allocator gives back and takes again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

OCTETS = 10_000_000
PAGE = 4096

TRANSFER = """
import os, resource, sys, tempfile

from mailserver.net import transfer
from mailserver.store import body

chunk, octets = int(sys.argv[1]), int(sys.argv[2])
transfer.CHUNK = body.CHUNK = chunk
held = [bytes(size) for size in (200_000, 60_000, 20_000) for _ in range(50)]  # in the holes that others have left

file = tempfile.TemporaryFile(buffering=0)
for _ in range(octets // 4400):
    file.write(b"All work and no play makes a large message.\\n" * 100)
octets = file.tell()
sink = os.open("/dev/null", os.O_WRONLY)


def faults():
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    sending = transfer.Transfer(body.FileBody(os.dup(file.fileno()), octets), None, wire=False)
    while not sending.done:
        os.write(sink, sending.read())
    sending.close()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


faults()
print(faults())
"""


AGED = {"MALLOC_MMAP_THRESHOLD_": str(300 * 1024), "MALLOC_TRIM_THRESHOLD_": str(600 * 1024)}
"""glibc's thresholds as they stand once an object of 300 KiB has gone. They move up with the largest one, and never down."""


def faults_in_an_aged_process(chunk: int) -> int:
    """The page faults of a message of 10 MB with LF, in chunks of so many octets."""
    run = subprocess.run(
        [sys.executable, "-c", TRANSFER, str(chunk), str(OCTETS)],
        env=os.environ | AGED,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's allocator that this is about")
def test_a_large_message_takes_no_new_pages_though_the_process_has_aged() -> None:
    from mailserver.net.transfer import CHUNK

    pages = OCTETS // PAGE
    assert faults_in_an_aged_process(CHUNK) < pages / 20
    assert faults_in_an_aged_process(256 * 1024) > pages, "the test does not see what it is for"
