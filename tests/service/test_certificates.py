"""The certificates as a part: loaded when it starts, again at a reload, and no thread outlives its stop."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailserver.config.problems import Problems
from mailserver.config.reading import Misread, decode
from mailserver.config.settings import Tls
from mailserver.interfaces import IPart
from mailserver.service import certificates
from mailserver.service.certificates import Certificates
from mailserver.tls.certificate_store import CertificateErrors
from mailserver.tls.certificates import CertificateError, self_signed


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if "certificates" in thread.name}


class CertificatesTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.settings = Tls(certificate=f"{self.folder}/cert.pem", key=f"{self.folder}/key.pem")

    def write(self, host: str) -> None:
        certificate, key = self_signed([host])
        (self.folder / "cert.pem").write_bytes(certificate)
        (self.folder / "key.pem").write_bytes(key)

    async def test_they_are_there_from_the_start_and_renewed_at_a_reload(self) -> None:
        self.write("one.example.org")
        part = Certificates(self.settings, Problems())
        assert IPart.providedBy(part)
        assert part.store is None
        await part.start(reactor)
        self.addCleanup(part.stop)
        store = part.store
        assert store is not None
        assert store.loaded.pairs[0].matches("one.example.org")
        self.write("two.example.org")
        await part.reload()
        assert part.store is store
        assert store.loaded.pairs[0].matches("two.example.org")

    async def test_its_thread_ends_with_it_and_it_may_stop_twice(self) -> None:
        self.write("one.example.org")
        part = Certificates(self.settings, Problems())
        await part.start(reactor)
        assert threads()
        await part.stop()
        await part.stop()
        assert not threads()

    async def test_one_that_cannot_be_loaded_leaves_nothing_running(self) -> None:
        part = Certificates(self.settings, Problems())
        with pytest.raises(CertificateErrors, match="no such file"):
            await part.start(reactor)
        assert not threads()
        await part.reload()
        await part.stop()

    async def test_without_any_in_the_settings_it_does_nothing(self) -> None:
        part = Certificates(Tls(), Problems())
        await part.start(reactor)
        await part.reload()
        await part.stop()
        assert part.store is None

    async def test_what_was_misread_is_no_problem_of_its_own(self) -> None:
        with pytest.raises(Misread) as misread:
            decode({"tls": {"certificate": "/nowhere", "ky": "/nowhere"}})
        part = Certificates(Tls(certificate="/nowhere", key="/nowhere"), Problems.after(misread.value))
        await part.start(reactor)
        assert part.store is None

    async def test_a_file_of_tickets_is_refused_where_keys_cannot_be_set_and_else_all_is_as_before(self) -> None:
        self.write("one.example.org")
        self.patch(certificates, "can_set_ticket_keys", lambda: False)
        part = Certificates(replace(self.settings, ticket_file=f"{self.folder}/tickets"), Problems())
        with pytest.raises(CertificateError, match=r"leave tls\.ticket_file out"):
            await part.start(reactor)
        assert not threads()
        plain = Certificates(self.settings, Problems())
        await plain.start(reactor)
        self.addCleanup(plain.stop)
        assert plain.store is not None
        assert plain.store.loaded.tickets is None
