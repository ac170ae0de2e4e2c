"""Where the log of the command line goes, and what becomes of the lines of worker processes."""

import resource

import pytest
from twisted.application.service import Application
from twisted.logger import ILogObserver, jsonFileLogObserver, textFileLogObserver

from mailserver.cli.logs import Logs


@pytest.fixture
def full():
    """Files that cannot become longer than this: for whoever writes, a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Stopped:
    running = False


@pytest.fixture
def logs_of(tmp_path):
    """The logs of a program with a file, in a form."""
    made = []

    def make(kind, form="twisted"):
        path, logs = tmp_path / "log", Logs(form, Stopped())
        if kind == "twistd":
            logs.replace({"logfile": str(path), "nodaemon": True}, Application("mailserver"))
        else:
            options = {"logFile": path.open("a"), "fileLogObserverFactory": textFileLogObserver}
            logs.replace(options, None)
            options["fileLogObserverFactory"](options["logFile"])  # as twist does
        made.append(logs)
        return logs

    yield make
    for logs in made:
        logs._file.close()


@pytest.mark.parametrize("kind", ["twist", "twistd"])
def test_a_full_disk_does_not_end_the_reading_of_a_worker_s_lines(logs_of, kind, tmp_path, full):
    """An error would close the worker's log for good."""
    logs = logs_of(kind)
    full(0)
    for _ in range(3):
        logs.write("a line\n")
        logs.flush()
    full(None)
    logs.write("and on\n")
    logs.flush()
    assert (tmp_path / "log").read_text().endswith("and on\n")


@pytest.mark.parametrize(("form", "lines"), [("twisted", "text"), ("json", "json")])
@pytest.mark.parametrize("kind", ["twist", "twistd"])
def test_workers_write_the_form_of_the_log(logs_of, kind, form, lines):
    assert logs_of(kind, form).form == lines


def test_workers_send_events_where_another_observer_makes_the_lines(tmp_path):
    logs = Logs("twisted", Stopped())
    application = Application("mailserver")
    application.setComponent(ILogObserver, lambda _: None)
    with (tmp_path / "log").open("a") as file:
        logs.replace({"logFile": file, "fileLogObserverFactory": jsonFileLogObserver}, None)
        logs._pipes[0].close()
        assert logs.form == "event"
    for options in ({"logfile": "x", "syslog": True}, {"logfile": "x", "logger": "a.b"}, {"logfile": "x"}):
        logs.replace(options, application)
        assert logs.form == "event"
