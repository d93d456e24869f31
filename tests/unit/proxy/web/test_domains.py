"""Which hosts a web tool's own lists admit."""

import pytest

from managed_agents.proxy.web.domains import DomainRules


@pytest.mark.parametrize(
    ("config", "host", "path", "permitted"),
    [
        ({}, "example.com", "/", True),
        ({"allowed_domains": ["example.com"]}, "example.com", "/", True),
        ({"allowed_domains": ["Example.com"]}, "docs.example.com", "/a", True),
        ({"allowed_domains": ["example.com"]}, "badexample.com", "/", False),
        ({"allowed_domains": ["example.com"]}, "example.com.evil.net", "/", False),
        ({"allowed_domains": ["docs.example.com"]}, "example.com", "/", False),
        ({"allowed_domains": []}, "example.com", "/", False),
        ({"blocked_domains": ["example.com"]}, "a.b.example.com", "/", False),
        ({"blocked_domains": ["example.com"]}, "example.org", "/", True),
        ({"allowed_domains": ["example.com/blog"]}, "example.com", "/blog/first", True),
        ({"allowed_domains": ["example.com/blog/"]}, "www.example.com", "/blog", True),
        ({"allowed_domains": ["example.com/blog"]}, "example.com", "/blogs", False),
        ({"allowed_domains": ["example.com/blog"]}, "example.com", "/", False),
        ({"blocked_domains": ["example.com/private"]}, "example.com", "/public", True),
    ],
)
def test_a_domain_stands_for_itself_its_subdomains_and_what_lies_below_its_path(
    config: dict[str, list[str]], host: str, path: str, permitted: bool
) -> None:
    assert DomainRules.parse(config).permit(host, path) is permitted
