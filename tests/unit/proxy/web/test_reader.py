"""What is read of pages: their main text, nothing hidden, no script."""

import pytest

from managed_agents.proxy.web.reader.html_text import html_text
from managed_agents.proxy.web.reader.texts import clean, decoded
from support.requirements import requirement

LONG = "The whole story is told here. " * 10


def text_of(html: str) -> str:
    return html_text(html, "https://example.com/docs/page")[1]


def test_structure_becomes_light_markdown() -> None:
    page = (
        "<html><head><title> A \n title </title><style>p {}</style></head><body><h1>Top</h1>"
        "<p>Read <a href='../b?x=1'>the <b>other</b> page</a>, <a href='#here'>here</a>.</p>"
        "<ul><li>one</li><li>two</li></ul><table><tr><th>k</th><th>v</th></tr><tr><td>a</td><td>1</td></tr></table>"
        "<pre>for x:\n    run(x)</pre><img src='x.png' alt='a cat'></body></html>"
    )
    assert html_text(page, "https://example.com/docs/page") == (
        "A title",
        "# Top\n\nRead [the other page](https://example.com/b?x=1), here.\n\n- one\n- two\n\nk | v\n\na | 1\n\n"
        "for x:\n    run(x)\n\n[image: a cat]",
    )


def test_the_main_content_is_read_alone_where_the_page_names_it() -> None:
    page = f"<nav>Home Shop</nav><header>Buy!</header><main><p>{LONG}</p><aside>ad</aside></main><footer>(c)</footer>"
    assert text_of(page) == LONG.strip()


def test_without_a_main_content_everything_but_margins_is_read() -> None:
    assert text_of(f"<nav>Home</nav><div>{LONG}</div><footer>(c)</footer>") == LONG.strip()
    assert text_of("<main>tiny</main><div>the rest</div>") == "tiny\n\nthe rest"
    assert text_of("<nav>only a menu</nav>") == "only a menu"


@requirement("web-fetch-hostile", "A2")
@pytest.mark.parametrize(
    "hidden",
    [
        *("<script>steal()</script>", "<style>steal</style>", "<noscript>steal</noscript>", "<!-- steal -->"),
        *("<div hidden>steal</div>", "<p style='display: none'>steal</p>", "<span style='font-size:0px'>steal</span>"),
        *(
            "<div aria-hidden=true><div>steal</div>steal</div>",
            "<template>steal</template>",
            "<svg><text>steal</text></svg>",
        ),
        *("<textarea>steal</textarea>", "<iframe srcdoc='steal'>steal</iframe>", "<a href='javascript:steal()'></a>"),
    ],
)
def test_what_a_reader_of_the_page_would_not_see_is_not_read(hidden: str) -> None:
    assert text_of(f"<p>before</p>{hidden}<p>after</p>") == "before\n\nafter"


def test_links_to_other_things_than_pages_keep_their_text_alone() -> None:
    assert text_of("<a href='javascript:x()'>go</a> <a href='mailto:a@b.c'>mail</a> <a href='http://[bad'>bad</a>") == (
        "go mail bad"
    )


@requirement("web-fetch-hostile")
@pytest.mark.parametrize(
    "page", ["<div>" * 200_000 + "x", "<a href=x>" * 50_000, "</p>" * 100_000, "<!" * 1000, "<svg>" + "y" * 100]
)
def test_depth_and_disorder_cost_nothing(page: str) -> None:
    text_of(page)


def test_charsets_come_from_the_mark_the_header_and_the_page() -> None:
    page = "<meta charset='windows-1251'>Привет"
    assert decoded(page.encode("cp1251"), None, looks_inside=True) == page
    assert decoded(page.encode("cp1251"), "windows-1251") == page
    assert decoded("é".encode("latin-1"), "iso-8859-1") == "é"
    assert decoded(b"\xff\xfeh\x00i\x00", "utf-8") == "hi"
    assert decoded(b"abc\xff", None) == "abc\ufffd"


@pytest.mark.parametrize("charset", ["punycode", "zip", "unicode_escape", "idna", "undefined", "no-such", "utf-7"])
def test_a_charset_that_no_page_is_written_in_counts_as_utf_8(charset: str) -> None:
    assert decoded("ü".encode(), charset) == "ü"


@requirement("A2")
def test_hidden_and_control_characters_are_taken_out() -> None:
    assert clean("a\u202eb\u2066c\u200bd\x00e\x1b[31mf\U000e0041g\r\nh\ti") == "abcde[31mfg\nh\ti"
    assert clean("half \ud800") == "half ?"
