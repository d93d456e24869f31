"""A tunnel to a host that has a credential: TLS ends here and begins anew, requests are read in between (design §8).

The tool meets a certificate of its sandbox's authority, the destination is asked for one that the system, or the
administrator's rules, trust; what is wrong with it is the answer to the tool's first request.
"""

import asyncio
import ssl
from contextlib import suppress
from datetime import UTC, datetime

import h11

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_hosts import Target
from managed_agents.proxy.egress_refusal import EgressRefusedError
from managed_agents.proxy.egress_streams import Counted
from managed_agents.proxy.injection.authority import Authority
from managed_agents.proxy.injection.conversation import Conversation, Grants, count
from managed_agents.proxy.injection.peers import Peer, next_request
from managed_agents.proxy.injection.tls import TlsStream
from managed_agents.proxy.judged_client import trust_of

LINGER_SECONDS = 1.0
"""How long a tool that was refused may go on sending what it had begun."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def trusting_context(rules: EgressRules) -> ssl.SSLContext:
    """Return the client's side of TLS."""
    context = trust_of(rules)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def intercept(
    tool: Streams,
    destination: Streams,
    *,
    first: bytes,
    target: Target,
    authority: Authority,
    trusting: ssl.SSLContext,
    grants: Grants,
    counted: Counted,
) -> str | None:
    """Serve one tunnel to its end; `first` is what the tool has sent already. Returns the reason of a refusal.

    Raises: OSError.
    """
    towards = TlsStream(destination, trusting, server_hostname=target.host)
    inwards = TlsStream(tool, authority.context_for(target, datetime.now(UTC)), received=first)
    handshake = asyncio.ensure_future(_distrust(towards, target))
    peers = Peer(inwards, h11.SERVER), Peer(towards, h11.CLIENT)
    try:
        await inwards.handshake()
        return await _conversed(peers, await handshake, Conversation(*peers, host=target, grants=grants))
    finally:
        handshake.cancel()
        await asyncio.gather(handshake, return_exceptions=True)
        count(counted, *peers)
        for peer in peers:
            await peer.stop()
        await towards.close()
        await inwards.close()


async def _conversed(peers: tuple[Peer, Peer], distrust: EgressRefusedError | None, talk: Conversation) -> str | None:
    tool, _ = peers
    try:
        if distrust is not None:
            if await next_request(tool, None) is None:
                return distrust.reason
            raise distrust
        await talk.run()
        if tool.http.their_state is h11.SEND_BODY:  # it was answered before it had sent all
            await _linger(tool)
    except EgressRefusedError as refusal:
        await _answer(tool, refusal)
        return refusal.reason
    except h11.RemoteProtocolError as problem:
        status, text = 502, "the destination's answer is not HTTP/1.1"  # no more: it may quote a value
        if tool.http.their_state is h11.ERROR:
            status, text = 400, f"the request is not HTTP/1.1: {problem}"
        await _answer(tool, EgressRefusedError(status=status, reason="malformed", message=text))
        return "malformed"
    except h11.LocalProtocolError:
        return "malformed"
    return None


async def _distrust(stream: TlsStream, target: Target) -> EgressRefusedError | None:
    """Begin TLS with the destination, and return what is wrong with it."""
    try:
        await stream.handshake()
    except ssl.SSLCertVerificationError as problem:
        text = f"the certificate of {target.host} is refused: {problem.verify_message}"
        return EgressRefusedError(status=502, reason="certificate", message=text)
    except (OSError, ssl.SSLError):
        text = f"{target.host}:{target.port} does not speak TLS as it should"
        return EgressRefusedError(status=502, reason="tls", message=text)
    return None


async def _answer(tool: Peer, refusal: EgressRefusedError) -> None:
    """Refuse where no answer has begun; then, or else, the connection is of no more use."""
    if tool.http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
        body = refusal.body
        headers = [
            ("Content-Type", "text/plain"),
            ("Content-Length", str(len(body))),
            ("X-Sandbox-Network", refusal.reason),
            ("Connection", "close"),
        ]
        await tool.send(h11.Response(status_code=refusal.status, headers=headers))
        with suppress(h11.LocalProtocolError):  # the answer to a HEAD has no body
            await tool.send(h11.Data(data=body))
            await tool.send(h11.EndOfMessage())
    await _linger(tool)


async def _linger(tool: Peer) -> None:
    await tool.stop()
    await tool.stream.linger(LINGER_SECONDS)
