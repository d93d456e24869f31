"""What is refused before, and when, a page's address is dialled."""

import pytest
from aiohttp import ClientConnectorDNSError, ClientSession

from managed_agents.contracts.egress import EgressRules, parse_rules
from managed_agents.proxy.web.addresses import ClosedAddressError, guarded_connector, require_open, url_from
from managed_agents.proxy.web.domains import DomainRules
from managed_agents.proxy.web.problems import WebProblemError
from support.egress import Names
from support.requirements import requirement

ANY = DomainRules()


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://Example.COM./a?b=c#d", "https://example.com/a?b=c"),
        ("  http://example.com:80/ ", "http://example.com/"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("http://[2606:4700::1111]/", "http://[2606:4700::1111]/"),
    ],
)
def test_a_url_is_brought_into_one_spelling(given: str, url: str) -> None:
    assert str(url_from(given)) == url


@pytest.mark.parametrize(
    "given",
    [
        *("", "example.com", "ftp://example.com/", "file:///etc/passwd", "javascript:alert(1)", "data:text/html,x"),
        *("http://user:secret@example.com/", "http://user@example.com/", "http://example.com\\@evil.example/"),
        *("http://exa mple.com/", "http://example.com/\r\nHost: evil", "http://127.1/", "http://0x7f.1/"),
        *("http://2130706433/", "http://example.com:99999/", "http://[::1%25eth0]/", "http:///path", "https://"),
    ],
)
def test_what_is_no_plain_web_address_is_an_input_error(given: str) -> None:
    with pytest.raises(WebProblemError, match="invalid_tool_input"):
        url_from(given)


def test_a_long_url_is_refused_as_such() -> None:
    with pytest.raises(WebProblemError, match="url_too_long"):
        url_from("https://example.com/" + "a" * 2048)


@requirement("A23", "A15", "web-fetch")
@pytest.mark.parametrize(
    "given",
    [
        *("http://127.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:10.0.0.1]/"),
        *("http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://168.63.129.16/"),
        *(
            "http://10.96.0.1/",
            "http://192.168.1.1/",
            "http://100.64.0.1/",
            "http://0.0.0.0/",
            "http://[64:ff9b::a00:1]/",
        ),
        *("http://localhost/", "http://metadata/", "http://metadata.google.internal/", "http://x.svc.cluster.local/"),
        *(
            "http://kubernetes.default.svc/",
            "http://printer.local/",
            "http://example.com:22/",
            "http://example.com:8080/",
        ),
    ],
)
def test_internal_places_and_other_ports_are_not_allowed(given: str) -> None:
    with pytest.raises(WebProblemError, match="url_not_allowed"):
        require_open(url_from(given), ANY, EgressRules())


def test_what_the_administrator_allows_is_open_at_its_port() -> None:
    rules = parse_rules('{"allowed_hosts": ["docs.tools.svc.cluster.local:8080"]}')
    require_open(url_from("http://docs.tools.svc.cluster.local:8080/"), ANY, rules)
    with pytest.raises(WebProblemError, match="url_not_allowed"):
        require_open(url_from("http://docs.tools.svc.cluster.local:9090/"), ANY, rules)


@requirement("web-fetch")
def test_a_tool_s_own_lists_refuse_with_the_hosted_tool_s_code() -> None:
    with pytest.raises(WebProblemError, match=r"url_not_allowed: evil\.example is not among"):
        require_open(url_from("https://evil.example/"), DomainRules(allowed=("example.com",)), EgressRules())
    require_open(url_from("https://docs.example.com/"), DomainRules(allowed=("example.com",)), EgressRules())


@requirement("A17")
@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.1.2.3", "::1", "::ffff:192.168.0.1"])
async def test_a_name_with_an_internal_address_is_not_dialled(address: str) -> None:
    names = Names(known={"rebound.example": [address]})
    async with ClientSession(connector=guarded_connector(EgressRules(), names.resolve)) as client:
        with pytest.raises(ClientConnectorDNSError) as caught:
            await client.get("http://rebound.example/")
    assert isinstance(caught.value.os_error, ClosedAddressError)
    assert names.asked == ["rebound.example"]
