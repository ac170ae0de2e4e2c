"""What the tests of connections share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailserver.tls.certificate_store import CertificateStore
from tests.net.tls_roads import Line
from tests.tls.handshakes import write_pair


@pytest.fixture
def store(tmp_path: Path) -> CertificateStore:
    return CertificateStore([write_pair(tmp_path, "a", ["localhost"])])


@pytest.fixture
def connect(store: CertificateStore) -> Iterator[Callable[..., Line]]:
    """Makes a `Line`, whose sockets are closed in the end."""
    lines: list[Line] = []

    def made(*arguments: Any, **options: Any) -> Line:
        lines.append(Line(options.pop("store", store), *arguments, **options))
        return lines[-1]

    yield made
    for line in lines:
        line.close()
