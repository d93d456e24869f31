"""The text of an HTML page as light Markdown: headings, lists, tables, links; no scripts, and nothing that is hidden.

Where the page says what its main content is, that is the text; else everything but its navigation and margins. One pass
over the tags, no tree, no recursion: depth costs nothing.
"""

import re
from html.parser import HTMLParser
from urllib.parse import urljoin

MAIN_CHARACTERS_MIN = 200
"""What a page marks as its main content must say at least so much; else the mark is taken for a mistake."""

TEXT_CHARACTERS_MAX = 400_000
"""After so much text the rest of a page is not read: four times what any call shows, for margins are left out."""

_PIECE_CHARACTERS = 65_536

_UNREAD = frozenset(
    {
        *("script", "style", "noscript", "template", "svg", "math", "iframe", "object", "canvas"),
        *("audio", "video", "select", "datalist", "dialog", "textarea"),
    }
)
_VOID = frozenset(
    {
        *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track"),
        "wbr",
    }
)
_MAIN = frozenset({"main", "article"})
_MARGIN = frozenset({"nav", "footer", "aside", "button"})
_BLOCKS = frozenset(
    {
        *("p", "div", "section", "article", "main", "header", "footer", "nav", "aside", "form", "fieldset"),
        *("ul", "ol", "dl", "dt", "dd", "li", "table", "tr", "caption", "blockquote", "figure", "figcaption"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "pre", "address", "details", "summary", "body", "hr", "br"),
    }
)
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_HIDDEN_STYLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d]*[1-9])", re.IGNORECASE
)
_SPACES = re.compile(r"[ \t\n\r\f\v\u00a0]+")

_Line = tuple[str, bool, bool]
"""Text, whether it stands in the main content, whether in a margin."""


def html_text(html: str, url: str) -> tuple[str, str]:
    """Return a page's title and text. `url` is where it was found, for its links."""
    page = _Page(url)
    for begin in range(0, len(html), _PIECE_CHARACTERS):
        page.feed(html[begin : begin + _PIECE_CHARACTERS])
        if page.size > TEXT_CHARACTERS_MAX:
            break
    else:
        page.close()
    return page.title, page.text()


class _Page(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.size = 0
        self._base = url
        self._lines: list[_Line] = []
        self._line: list[str] = []
        self._prefix = ""
        self._unread: tuple[str, int] | None = None
        self._open = {"main": 0, "margin": 0, "pre": 0, "title": 0}
        self._link: tuple[str, int] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._unread is not None:
            if tag == self._unread[0]:
                self._unread = (tag, self._unread[1] + 1)
            return
        given = {name: value or "" for name, value in attrs}
        if tag not in _VOID and (tag in _UNREAD or _is_hidden(given)):
            self._unread = (tag, 1)
            return
        if tag in _BLOCKS:
            self._end_line()
        self._begin(tag, given)

    def handle_endtag(self, tag: str) -> None:
        if self._unread is not None:
            left = self._unread[1] - (tag == self._unread[0])
            self._unread = (self._unread[0], left) if left else None
            return
        if tag == "a" and self._link is not None:
            self._end_link(*self._link)
            self._link = None
        if tag in ("td", "th"):
            self._line.append(" | ")
        if tag in _BLOCKS:
            self._end_line()
        self._count(tag, -1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        if self._unread is not None:
            return
        if self._open["title"] and not self.title.strip():
            self.title = _SPACES.sub(" ", data).strip()
        elif self._open["pre"]:
            self._line.append(data)
        elif not self._open["title"]:
            self._line.append(_SPACES.sub(" ", data))

    def text(self) -> str:
        """Return what was read, the main content alone where it is worth it."""
        self._end_line()
        main = _joined([line for line in self._lines if line[1] and not line[2]])
        if len(main) >= MAIN_CHARACTERS_MIN:
            return main
        return _joined([line for line in self._lines if not line[2]]) or _joined(self._lines)

    def _begin(self, tag: str, given: dict[str, str]) -> None:
        self._count(tag, 1)
        if tag in _HEADINGS:
            self._prefix = _HEADINGS[tag]
        elif tag == "li":
            self._prefix = "- "
        elif tag == "a":
            self._link = (given.get("href", ""), len(self._line))  # links do not nest
        elif tag == "img" and given.get("alt", "").strip():
            self._line.append(f"[image: {_SPACES.sub(' ', given['alt']).strip()}]")
        elif tag == "base" and given.get("href"):
            self._base = _absolute(self._base, given["href"]) or self._base

    def _count(self, tag: str, by: int) -> None:
        """Note which of the regions that matter are open; ends without a begin are a page's own affair."""
        region = "main" if tag in _MAIN else "margin" if tag in _MARGIN else tag
        if region in self._open:
            self._open[region] = max(0, self._open[region] + by)

    def _end_link(self, href: str, begin: int) -> None:
        """Turn what stands since the link's begin into `[text](address)`; a link across lines keeps its text alone."""
        label = "".join(self._line[begin:]).strip()
        target = _absolute(self._base, href)
        if label and target and not self._open["pre"]:
            self._line[begin:] = [f"[{label}]({target})"]

    def _end_line(self) -> None:
        text = "".join(self._line)
        self._line.clear()
        if self._link is not None:
            self._link = (self._link[0], 0)
        if not self._open["pre"]:
            text = _SPACES.sub(" ", text).strip().removesuffix("|").strip()
        if text.strip():
            self.size += len(text)
            self._lines.append((self._prefix + text, bool(self._open["main"]), bool(self._open["margin"])))
            self._prefix = ""


def _is_hidden(given: dict[str, str]) -> bool:
    if "hidden" in given or given.get("aria-hidden") == "true":
        return True
    return bool(_HIDDEN_STYLE.search(given.get("style", "")))


def _absolute(base: str, href: str) -> str:
    """Return a link's address where it leads to a page of the web, else nothing."""
    try:
        target = urljoin(base, href.strip())
    except ValueError:
        return ""
    if not target.lower().startswith(("http://", "https://")) or href.strip().startswith("#"):
        return ""
    return _SPACES.sub("%20", target).replace("(", "%28").replace(")", "%29")[:2048]


def _joined(lines: list[_Line]) -> str:
    """Put lines together, list items close to each other and everything else a line apart."""
    parts: list[str] = []
    before = ""
    for text, _, _ in lines:
        if parts:
            parts.append("\n" if text.startswith("- ") and before.startswith("- ") else "\n\n")
        parts.append(text)
        before = text
    return "".join(parts)
