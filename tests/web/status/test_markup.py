"""What is not markup by its type never becomes markup: a hostile name stays a name."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from mailserver.web.status.markup import Markup, element, markup

HOSTILE = st.text() | st.text(alphabet="<>&\"'`=/ -!x\0\n\t\x1b\u202e\ud800;#")


class Read(HTMLParser):
    """What a browser finds."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


@given(HOSTILE, HOSTILE)
def test_no_text_breaks_out_of_its_element_or_its_attribute(inside: str, value: str) -> None:
    document = element("td", inside, title=value)
    document.encode("utf-8")
    read = Read(document)
    assert [tag for tag, _ in read.tags] == ["td"]
    assert [name for name, _ in read.tags[0][1]] == ["title"]
    assert read.text.isprintable()
    if inside.isprintable():
        assert read.text == inside
    if value.isprintable():
        assert read.tags[0][1][0][1] == value


def test_what_cannot_be_seen_is_spelled_out() -> None:
    assert element("b", "a\u202eb\x1b[2J\ud800") == "<b>a\\u202eb\\x1b[2J\\ud800</b>"


def test_attributes_are_named_as_html_names_them_and_left_out_without_a_value() -> None:
    assert (
        element("p", class_="x", aria_label="y", hidden=True, id=None, open=False)
        == '<p class="x" aria-label="y" hidden></p>'
    )
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'


def test_what_is_inside_may_be_nested_and_nothing() -> None:
    assert element("p", [1, None, (Markup("<br>"), "<")]) == "<p>1<br>&lt;</p>"
    assert isinstance(markup("x"), Markup)
