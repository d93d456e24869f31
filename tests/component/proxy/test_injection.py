"""Credentials that are environment variables, by real clients in a sandbox and real TLS servers (A15 to A20)."""

import hashlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from managed_agents.proxy.egress_rules import Networking
from support.egress import Network, binding_of
from support.injection import (
    FOREIGN,
    HOST,
    VALUE,
    World,
    close,
    credential,
    everywhere,
    session_credentials,
    world_in,
)
from support.requirements import requirement
from support.sandbox_process import Sandbox, new_folder

pytestmark = pytest.mark.slow  # whole processes


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox(new_folder())
    try:
        await made.start_supervisor()
        await made.start_runner()
        yield made
    finally:
        await made.close()
        shutil.rmtree(made.folder)


def plain_text(text: str) -> web.Response:
    return web.Response(text=text)


@requirement("injection", "A6")
async def test_a_tool_sees_a_placeholder_and_the_host_the_value(world: World) -> None:
    assert (await world.run("echo $TOKEN; env")).startswith(world.placeholder())
    assert VALUE not in await world.run("env; cat /proc/self/environ | tr '\\0' '\\n'")
    await world.run('curl -sS -H "Authorization: Bearer $TOKEN" $URL/a')
    [got] = world.server.got
    assert (got.method, got.path, got.headers["authorization"]) == ("GET", "/a", f"Bearer {VALUE}")
    assert got.headers["host"] == f"{HOST}:{world.server.port}"


@requirement("injection")
async def test_usual_clients_trust_the_session_and_carry_the_value(world: World) -> None:
    script = (
        "import json, os, urllib.request as r; "
        "body = json.dumps({'key': os.environ['TOKEN']}).encode(); "
        "q = r.Request(os.environ['URL'] + '/json', body, {'Content-Type': 'application/json'}); "
        "print(r.urlopen(q).status)"
    )
    assert await world.run(f'python3 -c "{script}"') == "200"
    await world.run('curl -sS -d "key=$TOKEN" $URL/form')
    await world.run('curl -sS -u "me:$TOKEN" $URL/basic')
    got = {one.path: one for one in world.server.got}
    assert json.loads(got["/json"].body) == {"key": VALUE}
    assert got["/json"].headers["content-length"] == str(len(got["/json"].body))
    assert got["/form"].body == b"key=canary-5f%2F%2B+1%26d"
    assert got["/basic"].headers["authorization"] == "Basic bWU6Y2FuYXJ5LTVmLysgMSZk"


@requirement("injection")
@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("git", "git ls-remote https://me:$TOKEN@$HOST_PORT/x.git"),
        ("pip", "python3 -m pip download --no-deps --isolated --retries 0 -i https://me:$TOKEN@$HOST_PORT/x nothing"),
        ("npm", "npm view nothing --registry=$URL/x/ --fetch-retries=0"),
    ],
)
async def test_a_package_manager_reaches_its_server(world: World, program: str, command: str) -> None:
    if shutil.which(program) is None and program != "pip":
        pytest.skip(f"no {program} here")

    async def answer(request: web.Request) -> web.StreamResponse:
        has_authorization = "Authorization" in request.headers
        headers = {"WWW-Authenticate": 'Basic realm="x"'}
        return web.Response(status=404) if has_authorization else web.Response(status=401, headers=headers)

    world.server.handler = answer
    said = await world.run(f"HOST_PORT={HOST}:{world.server.port}; HOME=$PWD {command} 2>&1 || true")
    assert world.server.got, said
    if program != "npm":
        assert world.server.got[-1].headers["authorization"] == "Basic bWU6Y2FuYXJ5LTVmLysgMSZk", said


@requirement("A20")
async def test_a_placeholder_in_path_and_query_stays_one(world: World) -> None:
    await world.run('curl -sS "$URL/$TOKEN?q=$TOKEN"')
    [got] = world.server.got
    assert got.path == f"/{world.placeholder()}?q={world.placeholder()}"


@requirement("A20")
async def test_a_place_that_is_not_allowed_gets_the_placeholder(sandbox: Sandbox, tmp_path: Path) -> None:
    entries = [credential("HEAD", body=False), credential("BODY", header=False)]
    world = await world_in(sandbox, tmp_path, *entries)
    await world.run('curl -sS -H "X-One: $HEAD" -H "X-Two: $BODY" -d "$HEAD $BODY" -H "Content-Type: text/plain" $URL/')
    [got] = world.server.got
    assert (got.headers["x-one"], got.headers["x-two"]) == (VALUE, world.placeholder("BODY"))
    assert got.body.decode() == f"{world.placeholder('HEAD')} {VALUE}"
    await close(world)


@requirement("A20", "A18")
async def test_another_host_gets_the_placeholder_also_by_a_redirect(world: World) -> None:
    there = f"https://{FOREIGN}:{world.foreign.port}/there"

    async def redirect(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(there)

    world.server.handler = redirect
    trust = f"cat >> ca.pem <<'E'\n{world.authority.pem}E\ncat $CURL_CA_BUNDLE >> ca.pem; "
    await world.run(f'{trust} curl -sS --cacert ca.pem -L -H "X-Key: $TOKEN" -d "$TOKEN" $URL/')
    assert [got.headers["x-key"] for got in world.server.got] == [VALUE]
    [foreign] = world.foreign.got
    assert foreign.headers["x-key"] == world.placeholder()
    assert VALUE.encode() not in foreign.body
    assert "foreign" in json.dumps(foreign.headers)


@requirement("A19")
async def test_a_callers_own_credentials_are_taken_out(world: World) -> None:
    headers = (
        '-H "X-Api-Key: mine" -H "Authorization: Bearer mine" -H "Proxy-Authorization: Basic bWluZQ==" '
        '-H "Cookie: a=mine; b=$TOKEN" -H "X-Other: kept"'
    )
    await world.run(f"curl -sS {headers} $URL/")
    [got] = world.server.got
    assert not {"x-api-key", "authorization", "proxy-authorization"} & got.headers.keys()
    assert (got.headers["cookie"], got.headers["x-other"]) == (f"b={VALUE}", "kept")


async def test_a_credential_for_every_host_takes_nothing_out(sandbox: Sandbox, tmp_path: Path) -> None:
    world = await world_in(sandbox, tmp_path, everywhere())
    for url in ("$URL", "$FOREIGN_URL"):
        await world.run(f'curl -sS -H "Authorization: Bearer mine" -H "X-Key: $TOKEN" {url}/')
    for got in (*world.server.got, *world.foreign.got):
        assert (got.headers["authorization"], got.headers["x-key"]) == ("Bearer mine", VALUE)
    assert (len(world.server.got), len(world.foreign.got)) == (1, 1)
    await close(world)


@requirement("injection-answers")
async def test_an_answer_shows_no_value(world: World) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"you sent {VALUE}!", headers={"X-Echo": f"got {VALUE}"})

    world.server.handler = echo
    said = await world.run('curl -sS -i --compressed -H "X-Key: $TOKEN" $URL/')
    assert VALUE not in said
    assert f"you sent {'*' * len(VALUE)}!" in said
    assert f"X-Echo: got {world.placeholder()}" in said
    assert world.server.got[0].headers["accept-encoding"] == "identity"


@requirement("injection-rotation", "F23")
async def test_a_new_value_is_used_on_an_open_connection_and_a_removed_one_no_more(world: World) -> None:
    reader, writer = await world.tls(f"{HOST}:{world.server.port}")
    request = f"GET / HTTP/1.1\r\nHost: {HOST}:{world.server.port}\r\nX-Key: {world.placeholder()}\r\n\r\n".encode()
    for entries in ([], [credential(value="second-value")], []):
        if entries or world.server.got:
            world.keep(*entries)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
    writer.close()
    placeholder = request.split(b"X-Key: ")[1].split(b"\r\n")[0].decode()
    assert [got.headers["x-key"] for got in world.server.got] == [VALUE, "second-value", placeholder]
    assert len({got.peer for got in world.server.got}) == 1


@requirement("injection-harness")
async def test_another_harness_is_the_same_authority_with_the_same_placeholders(world: World, tmp_path: Path) -> None:
    placeholder, trusted = world.placeholder(), world.credentials.authority.certificate
    world.session = session_credentials(tmp_path)
    assert world.placeholder() == placeholder
    assert world.credentials.authority.certificate == trusted
    await world.network.pool.close()
    await world.bind(epoch=2)
    rules = world.network.pool._egress._rules
    again = Network.under(rules, Networking(is_limited=False), world.session.of)
    again.names.known |= world.network.names.known
    again.pool.ensure(binding_of(world.sandbox, epoch=2))
    reader, writer = await world.tls(f"{HOST}:{world.server.port}", trusted=trusted)
    request = f"GET / HTTP/1.1\r\nHost: {HOST}:{world.server.port}\r\nX-Key: {placeholder}\r\n\r\n"
    writer.write(request.encode())
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()
    assert world.server.got[-1].headers["x-key"] == VALUE
    await again.pool.close()


@requirement("injection")
async def test_a_credential_that_comes_later_reaches_the_living_shell(world: World) -> None:
    assert await world.run("mine=kept; echo ${LATER-none}") == "none"
    world.keep(credential(), credential("LATER", value="later-value"))
    await world.bind()
    assert await world.run("echo $mine $LATER") == f"kept {world.placeholder('LATER')}"


async def test_large_bodies_go_through_in_both_directions(world: World) -> None:
    size = 24 * 1024 * 1024
    digest = hashlib.sha256(b"0123456789abcdef" * (size // 16)).hexdigest()

    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read())

    world.server.handler = echo
    make = f"python3 -c \"open('big','wb').write(b'0123456789abcdef'*{size // 16})\"; "
    said = await world.run(make + 'curl -sS -T big -H "X-Key: $TOKEN" -o back $URL/; sha256sum back | cut -d" " -f1')
    assert said == digest
    [got] = world.server.got
    assert (got.headers["content-length"], got.headers["x-key"]) == (str(size), VALUE)
    said = await world.run('curl -sS -T - -H "X-Key: $TOKEN" -o back $URL/ < big; sha256sum back | cut -d" " -f1')
    assert said == digest
    assert world.server.got[-1].headers["transfer-encoding"] == "chunked"


@requirement("A15")
async def test_a_credential_opens_no_host(sandbox: Sandbox, tmp_path: Path) -> None:
    limited = Networking(is_limited=True, hosts=frozenset({FOREIGN}))
    world = await world_in(sandbox, tmp_path, credential(), networking=limited)
    said = await world.run('curl -sS -H "X-Key: $TOKEN" $URL/ 2>&1 || true')
    assert "403" in said
    assert world.server.got == []
    await close(world)
