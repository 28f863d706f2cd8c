"""HTML of strangers: made safe to be shown, and read as text where a mail has nothing else.

Nothing in it may run, load or look like a part of the page: no script, style, form, picture or
frame. Links open the web or a mail, and nothing else.

Source: the `nh3` package (ammonia), which rebuilds the document from an HTML5 parser's tree.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

import nh3

_TAG_WORDS = (
    "a abbr b blockquote br code dd div dl dt em h1 h2 h3 h4 h5 h6 hr i li ol p pre q s small "
    "span strong sub sup table tbody td th thead tr u ul"
)
_TAGS = set(_TAG_WORDS.split())
_ATTRIBUTES = {"a": {"href", "title"}, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"}}
_BREAK_WORDS = "address br dd div dt h1 h2 h3 h4 h5 h6 hr li p pre table td tr"
_BREAKS = frozenset(_BREAK_WORDS.split())
_HISTORY = re.compile(r"\b(?:gmail_quote|moz-cite-prefix|yahoo_quoted|protonmail_quote)\b")
_HISTORY_IDS = frozenset({"divRplyFwdMsg", "appendonsend", "isForwardContent"})


def safe_html(html: str) -> str:
    """The same words in harmless markup."""
    return nh3.clean(
        html,
        tags=_TAGS,
        clean_content_tags={"script", "style", "title"},
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )


def html_to_text(html: str) -> str:
    """The words of a page, a line a block; quoted history begins with `>`, so that it is cut."""
    # Through the other parser first: the standard library's is slow over what is malformed.
    tidy = nh3.clean(
        html,
        tags=_TAGS | {"address"},
        clean_content_tags={"script", "style", "title"},
        attributes={tag: {"class", "id"} for tag in _TAGS},
        link_rel=None,
    )
    reader = _Words()
    reader.feed(tidy)
    reader.close()
    return reader.text()


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._quotes = 0
        self._has_ended = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if _HISTORY.search(named.get("class") or "") or named.get("id") in _HISTORY_IDS:
            self._has_ended = True
        if tag == "blockquote":
            self._quotes += 1
            self._parts.append("\n> ")
        elif tag in _BREAKS:
            self._parts.append("\n> " if self._quotes else "\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "blockquote":
            self._quotes = max(0, self._quotes - 1)
            self._parts.append("\n")
        elif tag in ("p", "div", "tr", "li") and not self._quotes:
            self._parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._has_ended:
            self._parts.append(re.sub(r"\s+", " ", data))

    def text(self) -> str:
        lines = (line.strip() for line in "".join(self._parts).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
