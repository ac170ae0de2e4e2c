"""What operators can ask the server: a module for each field, a function for each question."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from mailserver.control.port import Question
from mailserver.service.questions import logins, metrics, overview, sessions, settings, throttle, trace, whole
from mailserver.service.questions.facts import Facts


def questions(facts: Facts) -> Mapping[str, Question]:
    """The questions of one process, by their names."""
    return {
        "status": Question(partial(sessions.status, facts), everywhere=True),
        "who": Question(partial(sessions.who, facts), everywhere=True),
        "kick": Question(partial(sessions.kick, facts), everywhere=True, changes=True),
        "config": Question(partial(settings.config, facts)),
        "trace": Question(partial(trace.trace, facts), everywhere=True, changes=True, lasting=True),
        "explain": Question(partial(logins.explain, facts)),
        "overview": Question(partial(overview.overview, facts), everywhere=True),
        "metrics": Question(partial(metrics.metrics, facts), everywhere=True),
        "throttle list": Question(partial(throttle.listed, facts), everywhere=True),
        "throttle forget": Question(partial(throttle.forget, facts), everywhere=True, changes=True),
        "reload": Question(partial(whole.reload, facts), changes=True, seconds=whole.RELOAD_SECONDS),
        "restart": Question(partial(whole.restart, facts), changes=True, seconds=whole.RESTART_SECONDS),
    }
