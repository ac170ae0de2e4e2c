"""The page: what it says of the facts, that it is sound HTML, and that nobody's name becomes a part of it."""

from __future__ import annotations

import re
from datetime import UTC
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailserver.web.status.markup import VOID, element
from mailserver.web.status.overview import SHOWN, Overview
from mailserver.web.status.page import STYLE, pieces
from mailserver.web.status.words import prose
from tests.web.status.pages import certificate, history, port, process, session, shown, trouble
from tests.web.status.test_markup import HOSTILE


class Read(HTMLParser):
    """The elements of a document, each closed where it must be."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(document)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += "" if self.open and self.open[-1] == "style" else data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def made(overview: Overview) -> str:
    return "".join(pieces(overview, UTC))


def read(*rows: dict[str, Any], **more: Any) -> Read:
    return Read(made(shown(*rows, **more)))


FULL = [session(), session(""), trouble(), certificate(), port(), process(1), process(2), history(), history()]


def test_each_section_says_so_where_there_is_nothing() -> None:
    text = read().text
    for words in ("All is well.", "Nothing failed in the last hour.", "Nobody is in.", "No certificate is in use."):
        assert words in text


def test_all_that_is_known_of_a_session_is_told() -> None:
    text = read(session("bob (boss)", peer="2001:db8::7")).text
    for words in (
        "bob (boss)",
        "2001:db8::7",
        "pop3s, TLS",
        "1 min 1 s",
        "2 of 4 fetched, 1 marked",
        "5.1 kB",
        "5f3a9c-1b",
    ):
        assert words in text


def test_a_failure_is_told_with_its_reason_and_what_helps() -> None:
    document = read(trouble(), process(failures=5))
    for words in (
        "5 failures in the last hour",
        "2 more are not shown",
        "login refused",
        "bob",
        "wrong password",
        "mailserver user set",
        "22:14:00",
    ):
        assert words in document.text
    assert "`" not in document.text, "what is to be typed has an element of its own"


@pytest.mark.parametrize(
    ("rows", "more", "title"),
    [
        ([], {}, "all is well"),
        ([certificate(13.5)], {}, "The certificate /etc/cert.pem expires in 13 days"),
        ([certificate(-0.5)], {}, "The certificate /etc/cert.pem expired 1 day ago: renew it"),
        ([certificate(3)], {"silent": [2]}, "Worker 2 does not answer: its part is missing here"),
        (
            [],
            {"alone": True},
            "This is one worker process alone: listen.control is not served, by which it would ask the others",
        ),
    ],
)
def test_the_title_tells_the_state_even_where_the_page_is_one_tab_of_many(rows: Any, more: Any, title: str) -> None:
    found = re.search("<title>([^<]*)</title>", made(shown(*rows, **more)))
    assert found is not None
    assert found[1] == f"mail.example.org: {title}"


@pytest.mark.parametrize(
    ("days", "told"), [(13.5, "13 d<small>left"), (0.5, "0 d<small>left"), (-0.5, "expired<small>1 day ago")]
)
def test_the_days_of_the_certificate_are_told_at_once(days: float, told: str) -> None:
    assert f"<dt>Certificate</dt><dd>{told}</small>" in "".join(pieces(shown(certificate(days)), UTC))


def test_names_and_addresses_are_broken_where_they_have_parts() -> None:
    text = "".join(pieces(shown(trouble("d.okafor@example.net", peer="2001:db8::17"), session("a@b.c")), UTC))
    assert ">d.<wbr>okafor@<wbr>example.<wbr>net<" in text
    assert ">2001:<wbr>db8::<wbr>17<" in text
    assert ">a@<wbr>b.<wbr>c<" in text
    text = "".join(pieces(shown(certificate(file="/etc/x.pem"), session(messages=12345)), UTC))
    assert "/<wbr>etc/<wbr>x.<wbr>pem" in text
    assert "2 of 12,345 fetched, 1 marked" in text


def test_the_same_failure_of_two_processes_is_one() -> None:
    text = read(trouble(times=3), trouble(times=4)).text
    assert text.count("wrong password") == 1
    assert "7" in text


def test_of_many_sessions_those_that_are_logged_in_and_the_latest_are_shown() -> None:
    many = [session(f"user{number}" if number % 2 else "", seconds=float(number)) for number in range(2 * SHOWN + 20)]
    document = read(*many, process(sessions={"pop3s": len(many)}))
    assert f"220 sessions are open. The latest {SHOWN} are shown" in document.text
    assert "user199" in document.text
    assert "user201" not in document.text
    assert "not logged in" not in document.text


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    document = read(*FULL)
    assert {tag for tag, _ in document.found}.isdisjoint({"script", "link", "img", "iframe", "form", "base", "object"})
    for tag, attributes in document.found:
        assert not {name for name in attributes if name.startswith("on") or name in {"style", "src"}}, tag
        assert (attributes.get("href") or "#").startswith("#")
        assert attributes.get("http-equiv") is None, "it is not loaded anew under the eyes of its reader"
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    assert "</" not in STYLE


def test_what_is_named_by_another_element_is_there_and_once() -> None:
    document = read(*FULL)
    names = [attributes["id"] for _, attributes in document.found if "id" in attributes]
    assert len(names) == len(set(names))
    for _, attributes in document.found:
        for attribute in ("aria-labelledby", "aria-describedby"):
            assert set((attributes.get(attribute) or "").split()) <= set(names)
        if (attributes.get("href") or "").startswith("#"):
            assert str(attributes["href"])[1:] in names


def test_landmarks_headings_and_tables_have_what_a_screen_reader_needs() -> None:
    document = read(*FULL)
    assert [len(document.all(tag)) for tag in ("header", "nav", "main", "footer", "h1")] == [1] * 5
    levels = [int(tag[1]) for tag, _ in document.found if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(document.all("caption")) == len(document.all("table"))
    assert all(attributes.get("scope") in ("col", "row") for attributes in document.all("th"))
    pictures = [each for each in document.all("svg") if each.get("role") == "img"]
    assert len(pictures) == 4 == len(document.all("details"))
    assert all(each["aria-labelledby"] and each["aria-describedby"] for each in pictures)


@settings(max_examples=12)
@given(HOSTILE, HOSTILE, HOSTILE)
def test_no_name_address_or_reason_becomes_a_part_of_the_page(one: str, two: str, three: str) -> None:
    def tables(one: str, two: str, three: str) -> list[tuple[str, list[str]]]:
        facts = shown(
            session(f"x{one}", peer=f"x{two}", session=f"x{three}", listener=f"x{one}"),
            trouble(
                f"x{two}",
                what=f"x{one}",
                peer=f"x{three}",
                why=f"x{one}".replace("`", ""),
                help=f"x{two}".replace("`", ""),
            ),
            certificate(-1, file=f"x{one}", names=[f"x{two}"], kind=f"x{three}"),
            port(f"x{one}", f"x{two}"),
            process(version=f"x{three}", sessions={f"x{one}": 1}),
            hostname=f"x{two}",
        )
        plain = (piece for piece in pieces(facts, UTC) if 'class="plot"' not in piece)  # what a plot draws are numbers
        return [(tag, list(attributes)) for tag, attributes in Read("".join(plain)).found if tag != "wbr"]

    assert tables(one, two, three) == tables("", "", "")


@given(st.lists(st.sampled_from(["`", "<a>", "</p>", "&", "x"])).map("".join))
def test_what_is_to_be_typed_is_escaped_too(text: str) -> None:
    document = Read(element("p", prose(text)))
    assert {tag for tag, _ in document.found} <= {"p", "code"}
    assert document.text.replace("`", "") == text.replace("`", "")
