"""The file of --log."""

import json

from mailserver.migration.troubles import Trouble, TroubleLog

UNREAD = Trouble("älice", "unread", "a hole\nin the file", "/var/mail/älice\udcff", b"UID1")


def test_each_trouble_is_a_line_and_a_second_run_adds_its_own(tmp_path):
    path = tmp_path / "log"
    for clock in (1.0, 2.5):
        log = TroubleLog(path, lambda: clock)  # noqa: B023 - called in this turn
        log.write(UNREAD)
        log.close()
        log.close()
    assert [json.loads(line) for line in path.read_bytes().splitlines()] == [
        {
            "time": time,
            "user": "älice",
            "what": "unread",
            "text": "a hole\nin the file",
            "place": "/var/mail/älice\udcff",
            "uidl": "UID1",
        }
        for time in (1.0, 2.5)
    ]
    assert path.stat().st_mode & 0o777 == 0o600
