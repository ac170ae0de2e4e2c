"""What IMAP shows of deleted mail, as Dovecot reads the Maildir: the trash, and nothing of what is kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailserver.interfaces import User
from mailserver.store import MaildirStore
from mailserver.store.deleting import read_deleting
from tests.interop.clients import path_of

NOBODY = 65534


CONFIGURATION = """
mail_location = maildir:{maildir}
ssl = no
base_dir = {folder}/run
log_path = /dev/stderr
first_valid_uid = 1
mail_uid = {uid}
mail_gid = {gid}
namespace inbox {{
  inbox = yes
}}
"""


class TrashTests(TestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()  # one that nobody, who is Dovecot under root, can enter
        self.addCleanup(directory.cleanup)
        self.folder = Path(directory.name)

    async def test_dovecot_shows_the_trash_and_nothing_of_what_is_kept(self) -> None:
        folder = self.folder
        maildir = folder / "alice"
        for name in ("new", "cur", "tmp"):
            (maildir / name).mkdir(parents=True)
        for number in (1, 2, 3):
            (maildir / f"new/170000000{number}.M1P1.h").write_bytes(b"Subject: %d\r\n\r\nbody\r\n" % number)
        for setting in ("trash", "keep 7 days"):
            store = MaildirStore(f"{folder}/{{user}}", reactor, deleting=read_deleting(setting))
            maildrop = await store.open(User("alice"), "me")
            assert await maildrop.commit([1]) == 0
            await store.stop()
        assert self.doveadm(folder, "mailbox", "list").split() == ["Trash", "INBOX"]
        shown = self.doveadm(folder, "fetch", "flags hdr.subject", "mailbox", "Trash")
        assert shown.splitlines()[:2] == ["flags: \\Recent", "hdr.subject: 1"], "neither seen nor deleted"
        assert "hdr.subject: 3" in self.doveadm(folder, "fetch", "hdr.subject", "mailbox", "INBOX")

    def doveadm(self, folder: Path, *command: str) -> str:
        uid, gid = (os.getuid(), os.getgid()) if os.getuid() else (NOBODY, NOBODY)
        file = folder / "dovecot.conf"
        file.write_text(CONFIGURATION.format(maildir=folder / "alice", folder=folder, uid=uid, gid=gid))
        if not os.getuid():
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, uid, gid)
        environment = {**os.environ, "USER": "alice", "HOME": str(folder)}
        run = subprocess.run(
            [path_of("doveadm"), "-c", str(file), *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout
