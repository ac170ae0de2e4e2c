"""The status page of a real server, in a real browser: what people see of all workers, and that everybody can see it."""

from __future__ import annotations

import http.client
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest

from tests.browser import ENTER, TAB, Browser, need_browser
from tests.cli.running import run
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site
from tests.service.test_web import SERVING, TOKEN, Local, get, own, reloaded, write_token
from tests.waiting import eventually
from tests.web.status.test_style import PICTURE, TEXT, contrast

WORKERS = 2
HOSTILE = "<script>document.title='mine'</script><b>bold"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as made:
        made.account("alice", messages=[b"Subject: one\n\n1\n", b"Subject: two\n\n2\n"])
        made.account("bob")
        write_token(made)
        own(made.folder)
        yield made


def paged(site: Site, **settings: Any) -> Server:
    listen = {"http": [f"unix:{site.folder}/http", "tcp:0"], "control": f"{site.folder}/control"}
    return Server(site, user=SERVING, **{"listen": listen, **settings})


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Server]:
    web = {"status_page": True, "token_file": str(site.folder / "token")}
    with paged(site, workers=WORKERS, web=web) as running:
        yield running


def fetched(site: Site) -> str:
    status, body = get(Local(site.folder / "http"), "/")
    assert status == 200
    return body.decode()


@pytest.fixture(scope="module")
def lively(site: Site, server: Server) -> Iterator[Server]:
    """With sessions that are open, some that are over, and failures."""
    with ExitStack() as stack:
        for name, word in (("alice", "sesame of alice"), ("bob", "sesame of bob")):
            stack.enter_context(RawPOP3(server.pop3_port)).login(name, word)
        stack.enter_context(RawPOP3(server.pop3s_port, tls=site.client_tls()))
        for name in ("nobody", "nobody", HOSTILE):
            with RawPOP3(server.pop3_port) as client:
                client.send(b"USER %b\r\nPASS a secret\r\n" % name.encode())
                client.line(), client.line()
        server.wait_for("pop3.login_failed", 3)
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need_browser()
    with Browser() as started:
        yield started


@pytest.fixture
def opened(lively: Server, browser: Browser) -> Browser:
    browser.open(f"http://operator:{TOKEN}@127.0.0.1:{lively.ports['http']}/")
    return browser


def test_whichever_worker_is_asked_shows_all(site: Site, lively: Server) -> None:
    for _ in range(8):
        text = fetched(site)
        assert all(f"worker {number}" in text for number in range(1, WORKERS + 1))
        assert "parent of the workers" in text
        assert text.count("unknown user") == 1, "the same failure of two workers is one"
        assert "no user can have such a name" in text
        assert "alice" in text
        assert "bob" in text
        assert "3 sessions are open" in text
        assert "<dt>Logins</dt><dd>2<small>" in text, "counted in whichever worker they were"
        assert "&lt;script&gt;document" in text
        assert "<script" not in text


def test_it_is_for_those_with_the_token_and_is_not_kept(lively: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", lively.ports["http"])
    assert get(connection, "/")[0] == 401
    connection.request("GET", "/", headers={"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_the_browser_has_nothing_to_complain_about(opened: Browser) -> None:
    assert opened.complaints() == []
    assert opened.run("return document.styleSheets.length") == 1
    assert opened.run("return getComputedStyle(document.querySelector('h1')).margin") == "0px", (
        "the style sheet is let in"
    )
    assert "mine" not in opened.run("return document.title")
    assert opened.run("return document.querySelectorAll('main b').length") == 0


def test_the_policy_lets_nothing_else_in(opened: Browser) -> None:
    opened.run("const s = document.createElement('style'); s.textContent = 'h1 {margin: 9px}'; document.head.append(s)")
    assert opened.run("return getComputedStyle(document.querySelector('h1')).margin") == "0px"
    assert any("Content Security Policy" in each for each in opened.complaints())


def test_it_is_whole_without_scripts(opened: Browser) -> None:
    before = opened.run("return document.body.innerText")
    opened.cdp("Emulation.setScriptExecutionDisabled", value=True)
    try:
        opened.open(opened.run("return location.href"))
        nodes = opened.cdp("DOM.getDocument", depth=-1)["root"]
        shown = opened.cdp("Accessibility.getFullAXTree")["nodes"]
    finally:
        opened.cdp("Emulation.setScriptExecutionDisabled", value=False)
    assert nodes["nodeName"] == "#document"
    roles = [each["role"]["value"] for each in shown if not each.get("ignored")]
    for role, least in {
        "banner": 1,
        "navigation": 1,
        "main": 1,
        "contentinfo": 1,
        "table": 4,
        "rowheader": 5,
        "image": 4,
    }.items():
        assert roles.count(role) >= least, role
    assert "unknown user" in before


@pytest.mark.parametrize("width", [320, 360, 800, 1280])
def test_the_page_is_never_wider_than_its_window(opened: Browser, width: int) -> None:
    opened.size(width)
    for each in (False, True):
        opened.run("document.querySelectorAll('details').forEach(each => { each.open = arguments[0] })", each)
        assert opened.run("return document.documentElement.scrollWidth") == width
    assert opened.run("return document.querySelectorAll('.chart').length") == 4
    assert opened.run("return [...document.querySelectorAll('.chart')].every(each => each.clientWidth > 200)")


_COLOURS = """
const seen = new Map();
const solid = element => {
  for (let each = element; each; each = each.parentElement) {
    const colour = getComputedStyle(each).backgroundColor;
    if (!/, 0\\)$/.test(colour)) return colour;
  }
  return 'rgb(255, 255, 255)';
};
for (const element of document.querySelectorAll('body *')) {
  const words = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  if (!words || element.closest('title, desc, svg title') || !element.getClientRects().length) continue;
  const style = getComputedStyle(element);
  const colour = element.closest('svg') ? style.fill : style.color;
  seen.set(colour + '/' + solid(element), element.tagName + ': ' + element.textContent.slice(0, 40));
}
return [...seen.entries()];
"""


def hexed(colour: str) -> str:
    red, green, blue = (int(each) for each in colour[colour.index("(") + 1 : -1].split(",")[:3])
    return f"#{red:02x}{green:02x}{blue:02x}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_can_be_told_from_what_is_behind_it(opened: Browser, scheme: str) -> None:
    opened.prefer(scheme)
    pairs = {tuple(map(hexed, colours.split("/"))): where for colours, where in opened.run(_COLOURS)}
    assert len(pairs) > 4
    assert {where: pair for pair, where in pairs.items() if contrast(*pair) < TEXT} == {}
    lines = opened.run("return [...document.querySelectorAll('path.line')].map(each => getComputedStyle(each).stroke)")
    sheet = opened.run("return getComputedStyle(document.querySelector('main > section')).backgroundColor")
    assert all(contrast(hexed(line), hexed(sheet)) >= PICTURE for line in lines)


_FOCUSED = """
const element = document.activeElement, box = element.getBoundingClientRect(), style = getComputedStyle(element);
return {
  name: element.textContent, tag: element.tagName, top: box.top + scrollY,
  seen: box.top >= 0 && box.bottom <= innerHeight && box.width > 0, outline: style.outlineStyle + parseFloat(style.outlineWidth),
};
"""


def test_everything_is_reached_by_the_keyboard_in_the_order_of_the_page(opened: Browser) -> None:
    opened.size(1280)
    wanted = opened.run("return [...document.querySelectorAll('a, summary')].map(each => each.textContent)")
    visited = []
    for _ in wanted:
        opened.press(TAB)
        visited.append(opened.run(_FOCUSED))
    assert [each["name"] for each in visited] == wanted
    assert all(each["seen"] and each["outline"] == "solid3" for each in visited)
    assert wanted[0] == "Skip to the content"
    tops = [each["top"] for each in visited[7:]]
    assert all(before <= after for before, after in pairwise(tops[::2]))


def test_the_first_key_skips_to_the_content_and_a_table_opens_by_a_key(opened: Browser) -> None:
    opened.press(TAB)
    opened.press(ENTER)
    assert opened.run("return document.activeElement.id") == "content"
    while opened.run("return document.activeElement.tagName") != "SUMMARY":
        opened.press(TAB)
    opened.press(ENTER)
    assert opened.run("return document.activeElement.parentElement.open")
    assert opened.run("return document.querySelector('details[open] caption').textContent") == "Logins, by the hour"


def test_a_reload_keeps_what_failed_and_what_was_counted(site: Site, lively: Server) -> None:
    reloaded(lively, hostname="other.example.org")
    page = fetched(site)
    assert "<h1>other.example.org</h1>" in page
    assert "<dt>Logins</dt><dd>2<small>" in page
    assert page.count("unknown user") == 1
    assert "3 sessions are open" in page


def test_what_failed_in_the_parent_of_the_workers_is_there_too(site: Site, lively: Server) -> None:
    before = lively.file.read_text()
    lively.file.write_text(before + "[no_such_table]\n")
    try:
        told = run("reload", "--socket", f"{site.folder}/control")
    finally:
        lively.file.write_text(before)
    assert told.returncode == 78
    eventually(lambda: fetched(site).count("no_such_table") == 1, lively.log)
    assert "settings refused" in fetched(site)
    _, metrics = get(Local(site.folder / "http"), "/metrics")
    counted = re.findall(
        rb'mailserver_log_events_total\{event="service.reload_refused",level="error",worker="."\} (\S+)', metrics
    )
    assert counted == [b"1.0"]
    lively.events[:] = [each for each in lively.events if each.get("event") != "service.reload_refused"]


def test_a_worker_that_dies_leaves_a_hole_and_its_successor_tells_why(site: Site, lively: Server) -> None:
    pid = lively.told("worker.serving")[0]["pid"]
    os.kill(pid, signal.SIGKILL)
    lively.wait_for("worker.serving", WORKERS + 1)
    eventually(lambda: f">{lively.told('worker.serving')[-1]['pid']}<" in fetched(site), lively.log)
    page = fetched(site)
    assert "does not answer" not in page
    assert page.count("process died") == 1
    assert "signal 9" in page
    assert page.count("no_such_table") == 1, "told by another one, if it was told by the one that died"
    lively.events[:] = [
        each for each in lively.events if each.get("event") != "worker.ended"
    ]  # it is an error of the log
