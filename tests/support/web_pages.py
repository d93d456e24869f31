"""Pages on loopback, and a proxy whose web tools may read them because its administrator says so."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web
from yarl import URL

from managed_agents.contracts.egress import EgressRules, parse_rules
from managed_agents.proxy.app import running
from managed_agents.proxy.settings import Settings


@dataclass
class Pages:
    """A server of pages: path to answer. It records the headers of each request, by path."""

    port: int = 0
    answers: dict[str, web.Response] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def put(self, path: str, body: bytes | str, content_type: str = "text/html", **headers: str) -> None:
        """Answer a path with this body."""
        raw = body.encode() if isinstance(body, str) else body
        self.answers[path] = web.Response(body=raw, headers={"Content-Type": content_type, **headers})

    def redirect(self, path: str, location: str, status: int = 302) -> None:
        """Answer a path with a redirect."""
        self.answers[path] = web.Response(status=status, headers={"Location": location})

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Return the address of a path."""
        return str(URL.build(scheme="http", host=host, port=self.port, path=path))

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.raw_path)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        known = self.answers.get(request.path)
        if known is None:
            return web.Response(status=404, text="none")
        return web.Response(status=known.status, body=known.body, headers=known.headers)


@asynccontextmanager
async def pages() -> AsyncIterator[Pages]:
    """Serve pages on a free port of loopback."""
    served = Pages()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", served.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.port = runner.addresses[0][1]
    try:
        yield served
    finally:
        await runner.cleanup()


def loopback_rules(*ports: int) -> EgressRules:
    """Return an administrator's rules that open loopback; without ports, nothing is open that is not by default."""
    if not ports:
        return EgressRules()
    listed = ", ".join(str(port) for port in ports)
    return parse_rules(f'{{"allowed_cidrs": ["127.0.0.0/8"], "ports": [{listed}]}}')


@dataclass
class WebBench:
    """A proxy under test, with a client in the harness' place."""

    http: ClientSession
    hand: str
    calls: int = 0

    async def execute(
        self, name: str, given: Mapping[str, Any], config: Mapping[str, Any] | None = None, *, call: str = ""
    ) -> dict[str, Any]:
        """Run a tool and return its result."""
        self.calls += 1
        body = {"tool_use_id": call or f"sevt_{self.calls}", "name": name, "input": given, "config": config or {}}
        async with self.http.post(f"{self.hand}/execute", json=body) as answer:
            assert answer.status == 200, await answer.text()
            result: dict[str, Any] = await answer.json()
            return result

    async def fetch(self, url: str, **config: Any) -> dict[str, Any]:
        """Run web_fetch."""
        return await self.execute("web_fetch", {"url": url}, config)


@asynccontextmanager
async def web_bench(folder: Path, rules: EgressRules, **settings: Any) -> AsyncIterator[WebBench]:
    """Run a proxy that has no server, no provider and no sandbox: the web tools need none of them."""
    made = Settings(
        server_url=URL("http://127.0.0.1:1"),
        token_file=folder / "token",
        providers_file=folder / "providers.json",
        health_host="127.0.0.1",
        health_port=0,
        session_port=0,
        hand_port=0,
        model_port=0,
        mcp_port=0,
        egress=rules,
        **settings,
    )
    async with ClientSession(timeout=ClientTimeout(total=40)) as http, running(made) as ports:
        yield WebBench(http=http, hand=f"http://127.0.0.1:{ports.hand}/v1/hands/web")


def text_of(result: Mapping[str, Any]) -> str:
    """Return what a result's first block says."""
    block = result["content"][0]
    return str(block["source"]["data"] if block["type"] == "document" else block["text"])
