"""web_fetch through a whole proxy, from pages on loopback that only an administrator's rules open."""

import asyncio
import gzip
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfWriter

from managed_agents.contracts.egress import EgressRules, parse_rules
from managed_agents.proxy.web.fetching import CHARACTERS_MAX, WebFetch
from managed_agents.proxy.web.problems import WebProblemError
from managed_agents.proxy.web.reading import Reader
from support.egress import Names
from support.requirements import requirement
from support.web_pages import Pages, WebBench, loopback_rules, pages, text_of, web_bench

PAGE = "<html><head><title>News</title></head><body><h1>Today</h1><p>It <a href='/more'>rains</a>.</p></body></html>"


@pytest.fixture
async def site() -> AsyncIterator[Pages]:
    async with pages() as served:
        served.put("/", PAGE)
        yield served


@pytest.fixture
async def bench(site: Pages, tmp_path: Path) -> AsyncIterator[WebBench]:
    async with web_bench(tmp_path, loopback_rules(site.port)) as made:
        yield made


@requirement("web-fetch")
async def test_a_page_becomes_a_document_with_its_title_and_address(bench: WebBench, site: Pages) -> None:
    result = await bench.fetch(site.url("/"))

    took = result.pop("run_ms")
    assert result == {
        "content": [
            {
                "type": "document",
                "source": {
                    "type": "text",
                    "media_type": "text/plain",
                    "data": f"# Today\n\nIt [rains]({site.url('/more')}).",
                },
                "title": "News",
                "context": f"Fetched from {site.url('/')}",
            }
        ],
        "is_error": False,
        "searches": 0,
    }
    assert took > 0


async def test_a_request_says_who_asks_and_carries_no_credential(bench: WebBench, site: Pages) -> None:
    site.put("/", PAGE, **{"Set-Cookie": "a=b"})
    await bench.fetch(site.url("/"))
    await bench.fetch(site.url("/") + "?again=1")

    assert site.asked == ["/", "/?again=1"]
    names = {"host", "user-agent", "accept", "accept-encoding", "accept-language", "connection"}
    assert [set(headers) for headers in site.headers] == [names, names]
    assert site.headers[0]["host"] == f"127.0.0.1:{site.port}"


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain; charset=utf-8", "grüße".encode(), "grüße"),
        ("application/json", b'{"a": [1, 2]}', '{"a": [1, 2]}'),
        ("text/html; charset=windows-1251", "<p>Привет".encode("cp1251"), "Привет"),
        ("", b"<!doctype html><p>hi", "hi"),
    ],
)
async def test_text_of_any_kind_is_read(
    bench: WebBench, site: Pages, content_type: str, body: bytes, text: str
) -> None:
    site.put("/it", body, content_type)
    assert text_of(await bench.fetch(site.url("/it"))) == text


async def test_a_packed_page_is_unpacked(bench: WebBench, site: Pages) -> None:
    site.put("/it", gzip.compress(b"<p>packed"), **{"Content-Encoding": "gzip"})
    assert text_of(await bench.fetch(site.url("/it"))) == "packed"


@requirement("web-fetch")
async def test_a_pdf_is_read_page_by_page(bench: WebBench, site: Pages) -> None:
    site.put("/paper.pdf", pdf("Measured on two cores"), "application/pdf")
    result = await bench.fetch(site.url("/paper.pdf"))

    assert text_of(result) == "Measured on two cores"
    assert result["content"][0]["title"] == "A paper"


async def test_a_long_page_is_cut_and_says_so(bench: WebBench, site: Pages) -> None:
    site.put("/", "x" * (CHARACTERS_MAX + 5), "text/plain")
    text = text_of(await bench.fetch(site.url("/")))
    assert text.startswith("x" * CHARACTERS_MAX + "\n\n[Cut here: the page goes on after these 100000")
    short = text_of(await bench.fetch(site.url("/"), max_content_tokens=10))
    assert short.startswith("x" * 40 + "\n\n[Cut here: the page goes on after these 40")


@requirement("web-fetch", "A18")
async def test_redirects_are_followed_so_far_and_each_is_judged(bench: WebBench, site: Pages) -> None:
    site.redirect("/old", "/older")
    site.redirect("/older", site.url("/"), 308)
    assert text_of(await bench.fetch(site.url("/old"))).startswith("# Today")

    site.redirect("/round", "/round")
    result = await bench.fetch(site.url("/round"))
    assert (result["is_error"], text_of(result)) == (True, "url_not_accessible: more than 5 redirects")
    assert site.asked.count("/round") == 6


@requirement("A18", "A23", "web-fetch")
@pytest.mark.parametrize(
    "location",
    [
        *("http://169.254.169.254/latest/meta-data/", "http://10.96.0.1/", "http://[::ffff:10.0.0.1]/"),
        *("http://kubernetes.default.svc/", "http://metadata.google.internal/", "http://[fd00:ec2::254]/"),
        "https://example.com:6443/",
    ],
)
async def test_a_redirect_into_the_cluster_or_to_the_metadata_service_is_not_followed(
    bench: WebBench, site: Pages, location: str
) -> None:
    site.redirect("/out", location)
    result = await bench.fetch(site.url("/out"))
    assert result["is_error"]
    assert text_of(result).startswith("url_not_allowed: ")


async def test_a_redirect_to_no_web_address_is_an_error(bench: WebBench, site: Pages) -> None:
    for location in ("file:///etc/passwd", "javascript:alert(1)", "http://user:key@127.0.0.1/"):
        site.redirect("/out", location)
        result = await bench.fetch(site.url("/out"))
        assert text_of(result).startswith("invalid_tool_input: url: ")


@requirement("A23", "A17", "web-fetch")
async def test_loopback_is_closed_unless_the_administrator_opens_it(site: Pages, tmp_path: Path) -> None:
    async with web_bench(tmp_path, EgressRules()) as closed:
        for host in ("127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1"):
            result = await closed.fetch(site.url("/", host))
            assert text_of(result).startswith("url_not_allowed: "), host
    named = parse_rules(f'{{"allowed_hosts": ["localhost:{site.port}"]}}')
    async with web_bench(tmp_path, named) as opened:
        assert text_of(await opened.fetch(site.url("/", "localhost"))).startswith("# Today")
        assert text_of(await opened.fetch(site.url("/"))).startswith("url_not_allowed: ")
    assert site.asked == ["/"]


@requirement("A17", "web-fetch")
async def test_a_name_that_changes_its_mind_is_judged_by_the_answer_that_is_dialled(site: Pages) -> None:
    """Positive control first: the page's address is open, and the second answer of the DNS is not."""
    names = Names(known={"rebound.example": ["127.0.0.2"]})
    rules = parse_rules(f'{{"allowed_cidrs": ["127.0.0.1/32"], "ports": [{site.port}]}}')
    async with WebFetch(rules, names.resolve, Reader()) as fetch:
        names.known["rebound.example"] = ["127.0.0.1"]
        url = site.url("/", "rebound.example")
        assert (await fetch.run({"url": url}, {}))[0]["title"] == "News"
        names.known["rebound.example"] = ["127.0.0.2", "10.0.0.7"]
        with pytest.raises(WebProblemError, match="url_not_allowed: rebound"):
            await fetch.run({"url": url}, {})
        names.known["rebound.example"] = ["127.0.0.2", "127.0.0.1"]
        assert (await fetch.run({"url": url}, {}))[0]["title"] == "News"
    assert names.asked == ["rebound.example"] * 3, "asked once for each request, before it is dialled"


@requirement("web-fetch", "A15")
async def test_a_tool_s_own_domains_hold_for_each_hop(site: Pages) -> None:
    names = Names(known={name: ["127.0.0.1"] for name in ("docs.example.com", "other.example", "example.com.evil.net")})
    rules = loopback_rules(site.port)
    site.redirect("/away", site.url("/", "other.example"))
    async with WebFetch(rules, names.resolve, Reader()) as fetch:
        config = {"allowed_domains": ["example.com"]}
        assert await fetch.run({"url": site.url("/", "docs.example.com")}, config)
        for url in (site.url("/", "other.example"), site.url("/", "example.com.evil.net"), site.url("/")):
            with pytest.raises(WebProblemError, match="url_not_allowed"):
                await fetch.run({"url": url}, config)
        with pytest.raises(WebProblemError, match=r"url_not_allowed: other\.example"):
            await fetch.run({"url": site.url("/away", "docs.example.com")}, config)
        with pytest.raises(WebProblemError, match="url_not_allowed"):
            await fetch.run({"url": site.url("/", "DOCS.example.com.")}, {"blocked_domains": ["example.com"]})
    assert names.asked == ["docs.example.com"] * 2, "what is refused is never resolved"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/none", "url_not_accessible: 127.0.0.1 answered with status 404"),
        ("/picture", "unsupported_content_type: image/png holds no text"),
        ("/empty", "unsupported_content_type: the page was loaded, and it holds no text"),
        ("/nowhere", "url_not_accessible: 127.0.0.1 redirects to nowhere"),
    ],
)
async def test_a_page_that_cannot_be_read_says_why(bench: WebBench, site: Pages, path: str, problem: str) -> None:
    site.put("/picture", b"\x89PNG", "image/png")
    site.put("/empty", "<script>render()</script>")
    site.redirect("/nowhere", "")
    result = await bench.fetch(site.url(path))
    assert result["is_error"]
    assert text_of(result).startswith(problem)


async def test_a_host_that_is_silent_or_unknown_is_named_and_its_address_is_not(site: Pages) -> None:
    names = Names(known={"down.example": ["127.0.0.9"]})
    async with WebFetch(loopback_rules(site.port), names.resolve, Reader()) as fetch:
        for host in ("down.example", "unknown.example", "silent.example"):
            with pytest.raises(WebProblemError, match=f"url_not_accessible: {host}") as caught:
                await fetch.run({"url": site.url("/", host)}, {})
            assert "127.0.0.9" not in str(caught.value)


@requirement("web-fetch-hostile")
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/pdf", b"%PDF-1.7\n" + b"<<" * 200_000),
        ("application/pdf", b"%PDF-1.4\n1 0 obj\n<< /Length 99999999999 >>\nstream\n"),
        ("text/html", b"<a " + b"x=y " * 1_500_000),
        ("text/html", b"<!--" * 1_000_000),
    ],
)
async def test_a_hostile_page_costs_its_own_reader_and_nothing_else(
    bench: WebBench, site: Pages, content_type: str, body: bytes
) -> None:
    site.put("/bad", body, content_type)
    result = await bench.fetch(site.url("/bad"))
    assert isinstance(result["is_error"], bool)
    assert text_of(await bench.fetch(site.url("/"))).startswith("# Today")


@requirement("web-fetch-hostile")
async def test_a_compressed_pdf_stream_that_unfolds_without_end_is_given_up(bench: WebBench, site: Pages) -> None:
    site.put("/bomb.pdf", pdf_bomb(), "application/pdf")
    result = await bench.fetch(site.url("/bomb.pdf"))
    assert result["is_error"]
    assert text_of(await bench.fetch(site.url("/"))).startswith("# Today")


@requirement("web-fetch")
async def test_a_call_runs_once_is_joined_and_is_kept(bench: WebBench, site: Pages) -> None:
    both = await asyncio.gather(*(bench.execute("web_fetch", {"url": site.url("/")}, call="sevt_x") for _ in range(2)))
    assert both[0]["content"] == both[1]["content"]
    assert site.asked == ["/"]
    async with bench.http.get(f"{bench.hand}/calls/sevt_x") as answer:
        found = await answer.json()
    assert (found["state"], found["result"]["content"]) == ("finished", both[0]["content"])
    async with bench.http.get(f"{bench.hand}/calls/sevt_y") as answer:
        assert answer.status == 404


async def test_a_running_call_can_be_cancelled(site: Pages, tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, web_bench(tmp_path, loopback_rules(port)) as bench:
        running = asyncio.ensure_future(bench.execute("web_fetch", {"url": f"http://127.0.0.1:{port}/"}, call="sevt_x"))
        async with asyncio.timeout(5):
            await arrived.wait()
        async with bench.http.get(f"{bench.hand}/calls/sevt_x") as answer:
            assert await answer.json() == {"state": "running"}
        async with bench.http.post(f"{bench.hand}/calls/sevt_x/cancel") as answer:
            assert answer.status == 200
        assert text_of(await running) == "unavailable: the call was cancelled"


@pytest.mark.parametrize(
    "body", [{"name": "web_fetch"}, {"tool_use_id": "x", "name": "web_fetch", "input": []}, {"tool_use_id": "x" * 200}]
)
async def test_a_malformed_call_is_refused(bench: WebBench, body: Any) -> None:
    async with bench.http.post(f"{bench.hand}/execute", json=body) as answer:
        assert answer.status == 400


async def test_bad_input_is_a_result_for_the_model(bench: WebBench) -> None:
    for given in ({}, {"url": 7}, {"url": " "}):
        result = await bench.execute("web_fetch", given)
        assert result["is_error"]
        assert text_of(result).startswith("invalid_tool_input: url: ")
    assert (await bench.execute("web_surf", {}))["is_error"]


def pdf(text: str, *, content: bytes | None = None) -> bytes:
    """Return a PDF of one page."""
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    page = writer.add_blank_page(200, 200)
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    resources = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})})
    page[NameObject("/Resources")] = resources
    stream = DecodedStreamObject()
    stream.set_data(content or f"BT /F1 12 Tf 10 100 Td ({text}) Tj ET".encode())
    page[NameObject("/Contents")] = writer._add_object(stream.flate_encode() if content else stream)
    writer.add_metadata({"/Title": "A paper"})
    held = io.BytesIO()
    writer.write(held)
    return held.getvalue()


def pdf_bomb() -> bytes:
    """Return a PDF of a few hundred kilobytes whose one page is 200 MB of drawing."""
    return pdf("", content=b"0 0 m " * (200_000_000 // 6))
