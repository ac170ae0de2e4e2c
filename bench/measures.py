"""How each kind of line is measured: all servers in turn, so that what disturbs the machine disturbs them alike."""

from __future__ import annotations

import json
import poplib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.figures import medians, ratio
from bench.maildrops import IDLE, deliver, growing, settle
from bench.scenarios import HELD, Scenario, command, run
from bench.servers import Server

Rounds = dict[str, list[dict[str, Any]]]
"""Each server's figures, a dict for each round."""

SHOWN = ("server_cpu_us", "sessions_s", "mb_s", "p99_ms")

WARM_SECONDS = 1.5
"""Until indexes and caches are warm."""

HELD_SECONDS = 13
"""Until the memory of idle sessions is read: servers tidy up some seconds after a handshake."""

DELIVERED = 10
"""Messages that come between two logins."""


def sessions(servers: Sequence[Server], scenario: Scenario, seconds: float, rounds: int) -> Rounds:
    """Many sessions of one kind."""
    results: Rounds = {server.name: [] for server in servers}
    for server in servers:
        run(server, scenario, min(seconds, WARM_SECONDS))
    for _ in range(rounds):
        for server in servers:
            results[server.name].append(run(server, scenario, seconds))
    return results


def show(label: str, results: Rounds, compared: Callable[[str], str | None]) -> None:
    """Print a line for each server, with its economy compared to another's."""
    print(f"\n{label}")
    for name, rounds in results.items():
        found = medians(rounds, SHOWN)
        line = (
            f"  {name:14} {found['server_cpu_us']:8.0f} us CPU/session {found['sessions_s']:8.1f} sessions/s "
            f"{found['mb_s']:7.1f} MB/s p99 {found['p99_ms']:6.1f} ms errors {sum(f['errors'] for f in rounds)}"
        )
        other = compared(name)
        if other in results:
            base = medians(results[other], SHOWN)["server_cpu_us"]
            line += f" {ratio(base, found['server_cpu_us']):6.2f} x {other}'s CPU economy"
        print(line, flush=True)


def age(servers: Sequence[Server], work: Sequence[Scenario], seconds: float) -> None:
    """Give servers other work, as hours in the life of a process do."""
    for server in servers:
        for each in work:
            run(server, each, max(seconds, WARM_SECONDS))


def first_logins(servers: Sequence[Server], messages: int, rounds: int) -> Rounds:
    """The first login after mail has come to a maildrop of so many messages."""
    results: Rounds = {server.name: [] for server in servers}
    drops = {server.name: growing(server.name, messages).name for server in servers}
    for server in servers:
        log_in(server, drops[server.name])  # reads all the mail, once
    for _ in range(rounds):
        for name in drops.values():
            deliver(name, DELIVERED)
            settle(name)
        for server in servers:
            results[server.name].append(login(server, drops[server.name]))
    return results


def login(server: Server, account: str) -> dict[str, Any]:
    """One login with STAT, in the form of a load's figures."""
    before, begun = server.account.cpu_seconds(), time.perf_counter()
    log_in(server, account)
    seconds = time.perf_counter() - begun
    time.sleep(0.2)  # what a server does after QUIT is its work, too
    used = server.account.cpu_seconds() - before
    return {"server_cpu_us": used * 1e6, "sessions_s": 1 / seconds, "mb_s": 0.0, "p99_ms": seconds * 1e3, "errors": 0}


def log_in(server: Server, account: str) -> None:
    """A session of USER, PASS, STAT and QUIT."""
    client = poplib.POP3("127.0.0.1", server.port, timeout=300)
    client.user(account)
    client.pass_("secret")
    client.stat()
    client.quit()


def idle_memory(servers: Sequence[Server]) -> Mapping[str, float]:
    """The memory of a logged-in session that does nothing, in a fresh server each; in KB."""
    print(f"\nmemory per logged-in idle session ({IDLE} sessions of {IDLE} accounts)")
    return {
        f"{server.name}{', TLS' if tls else ''}": _idle_kb(server, tls) for server in servers for tls in (False, True)
    }


def _idle_kb(server: Server, tls: bool) -> float:
    server.stop()
    server.start()
    run(server, Scenario("", "", "idle", tls, 4), 4)  # every account once: indexes are written and cached
    before = server.account.rss_mb()
    held = command(server.port_for(tls=tls), HELD._replace(tls=tls), "--seconds", str(HELD_SECONDS + 1))
    load = subprocess.Popen(held, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(HELD_SECONDS)
    grown = server.account.rss_mb() - before
    answer, told = load.communicate()
    figures = json.loads(answer)
    server.refuse_errors({"errors": IDLE - figures["held"]}, told)
    each: float = grown * 1000 / max(1, figures["held"])
    print(
        f"  {server.name:14} {'TLS  ' if tls else 'plain'} {each:8.1f} KB, held {figures['held']}, base {before:.1f} MB, "
        f"{len(server.account.pids())} processes",
        flush=True,
    )
    return each
