from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.html import document, html_problems, link, text_to_html, unsafe_link


class Reader(HTMLParser):
    """What a mail reader makes of HTML: the words, the tags, the links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words, self.tags, self.links = "", set[str](), list[str]()
        self.feed(html)
        self.close()

    def handle_data(self, data: str) -> None:
        self.words += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]


def test_paragraphs_and_lines() -> None:
    assert text_to_html("a\nb\n\n\nc\n") == "<p>a<br>\nb</p>\n<p>c</p>"
    assert text_to_html("a\n \t\nb") == "<p>a</p>\n<p>b</p>"
    assert text_to_html("") == ""


@pytest.mark.parametrize(
    ("text", "url", "rest"),
    [
        ("https://a.b/c?d=1&e=2.", "https://a.b/c?d=1&e=2", "."),
        ("(see http://a.b/c)", "http://a.b/c", ")"),
        ("https://a.b/x_(y)", "https://a.b/x_(y)", ""),
        ("HTTPS://A.B/!", "HTTPS://A.B/", "!"),
        ('https://a.b/"onclick="x', "https://a.b/", '"onclick="x'),
        ("https://a.b/<script>", "https://a.b/", "<script>"),
    ],
)
def test_web_addresses_become_links(text: str, url: str, rest: str) -> None:
    reader = Reader(text_to_html(text))
    assert reader.links == [url]
    assert reader.words.endswith(url + rest)


@pytest.mark.parametrize("text", ["javascript://a.b/%0aalert(1)", "ftp://a.b", "data:x", "http://"])
def test_other_addresses_stay_text(text: str) -> None:
    assert Reader(text_to_html(text)).links == []


@given(st.text(alphabet="<>&\"' \nhtps:/.a(){}=;!", max_size=60))
def test_html_says_what_the_text_says_and_nothing_more(text: str) -> None:
    reader = Reader(text_to_html(text))
    assert reader.words.split() == text.split()
    assert reader.tags <= {"p", "br", "a"}
    assert all(url.lower().startswith(("http://", "https://")) for url in reader.links)


def test_a_link_is_to_the_web() -> None:
    assert link("https://a.b/?x=1&y=2", "<x>") == '<a href="https://a.b/?x=1&amp;y=2">&lt;x&gt;</a>'
    with pytest.raises(AssertionError):
        link("javascript:alert(1)")


def test_the_footer_is_inside_the_page() -> None:
    assert document("<p>x</p>", "F").index("F") < document("<p>x</p>", "F").index("</body>")
    page = "<html><body><p>x</p></BODY></html>"
    assert document(page, "F") == "<html><body><p>x</p>F\n</BODY></html>"
    assert document("<html>x", "F") == "<html>x\nF"


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://a.b/{{ contact.email | url_encode }}">x</a>',
        "<a href='mailto:a@b.c'>x</a><a href=tel:1>y</a><img src=\"cid:1\" alt=''>",
        '<a href="{{ lead.url }}" {% if x %}title="y"{% endif %}>x</a>',
        "<!DOCTYPE html><html><head><style>p > b {color: red}</style></head><body>1 < 2 <br/>"
        "<!-- a <script> in a comment --></body></html>",
        '<table width="600" bgcolor="#fff"><tr><td nowrap>{{ lead.name }}</td></tr></table>',
    ],
)
def test_html_for_a_mail_is_fine(html: str) -> None:
    assert list(html_problems(html)) == []


@pytest.mark.parametrize(
    ("html", "words"),
    [
        ("<script>x</script>", "<script>"),
        ("<IFRAME src='https://a.b'></IFRAME>", "<iframe>"),
        ('<p onclick="x">y</p>', "onclick"),
        ('<a href="javascript:alert(1)">x</a>', "href"),
        ('<a href="java&#10;script:alert(1)">x</a>', "href"),
        ("<a href=' JaVaScRiPt:x'>x</a>", "href"),
        ('<img src="data:text/html,x">', "src"),
        ("<a href={{ lead.url }}>x</a>", "quoted"),
        ("<a {{ contact.title }}>x</a>", "quoted"),
        ("<{{ contact.title }}>", "no whole tag"),
        ("</{{ contact.title }}>", "no whole tag"),
        ("<p {{ x }}='y'>", "quoted"),
        ('<a href="x>y</a>', "no whole tag"),
        ("<a title=it's>y</a>", "no whole tag"),
        ("<!-- open", "no whole tag"),
        ("text <a", "no whole tag"),
    ],
)
def test_html_that_no_mail_should_hold(html: str, words: str) -> None:
    assert any(words in message for message in html_problems(html))


@pytest.mark.parametrize(
    ("html", "address"),
    [
        ('<a href="https://a.b">', None),
        ('<a href="/relative">', None),
        ('<a href="javascript:x">', "javascript:x"),
        ("<a HREF = 'javascript&colon;x'>", "javascript&colon;x"),
        ("<img src=vbscript:x>", "vbscript:x"),
        ('<a href="&#1;javascript:x">', "&#1;javascript:x"),
    ],
)
def test_a_filled_link_is_looked_at_again(html: str, address: str | None) -> None:
    assert unsafe_link(html) == address


@pytest.mark.parametrize(
    "piece", ["<", "<a ", "<a x='", "<a x=y ", "<!--", "</", "{{", "{%", "{{ a }}", "<a" + " " * 99]
)
def test_hostile_html_is_read_in_time(piece: str) -> None:
    started = time.process_time()
    list(html_problems(piece * (50_000 // len(piece))))
    unsafe_link(piece * (50_000 // len(piece)))
    text_to_html("https://a.b/" + "!" * 50_000 + "a")
    assert time.process_time() - started < 5
