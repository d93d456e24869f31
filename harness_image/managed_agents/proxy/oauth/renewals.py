"""Keeps the access tokens of a session fresh: one refresh of a credential at a time, whoever waits for it.

A renewed grant is used at once and written back beside that. Until the mounted file shows it, or something newer, it is
held here; where it is not written back, for as long as this process lives and the file stays as it is.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from managed_agents.contracts.api.vault_grants import MESSAGE_LENGTH_MAX
from managed_agents.contracts.clock import Clock
from managed_agents.proxy.egress_rules import Networking
from managed_agents.proxy.oauth.grants import Grant, OauthCredential, RefreshTerms, due_at, is_due
from managed_agents.proxy.oauth.server_grants import (
    NotKeptError,
    ServerGrants,
    ServerUnavailableError,
    StaleGrantError,
)
from managed_agents.proxy.oauth.token_endpoint import TokenEndpoint
from managed_agents.proxy.oauth.token_request import NotRenewed, Renewed
from managed_agents.proxy.oauth.write_back import Background, Kept, WriteBack
from managed_agents.proxy.watched_file import LOOK_SECONDS

FINAL_PAUSE_SECONDS = 60.0
"""After a refusal of the token endpoint; a new version of the credential ends it at once."""

RETRY_PAUSE_SECONDS = 5.0
"""After a token endpoint that gave no answer, and after a new token that an MCP server refuses at once."""

SCOPE_PAUSE_SECONDS = 60.0
"""A token with more scope is asked for once: what the credential was granted does not change by itself."""

ANOTHERS_SECONDS = 5.0
"""How long the grant that another session renews is waited for: written, told to the operator, mounted."""

REJECTED_SECONDS = 2.0
"""The same after a refusal: another may have used the refresh token just before."""

TURN_SECONDS = 0.5
"""Between two questions whose turn it is."""

_log = structlog.get_logger(listener="mcp")


class RenewalError(Exception):
    """There is no access token that the MCP server takes. The text says why, without a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """The last refresh of a version of a credential."""

    version: str
    message: str
    until: float


class Renewals:
    """The grants of one session. `newest` reads a credential anew from the mounted file, null when it is gone."""

    def __init__(
        self,
        endpoint: TokenEndpoint,
        server: ServerGrants,
        newest: Callable[[str], OauthCredential | None],
        clock: Clock,
    ) -> None:
        self._endpoint = endpoint
        self._server = server
        self._newest = newest
        self._clock = clock
        self._background = Background()
        self._write_back = WriteBack(server, self._background, clock)
        self._session = ""
        self._networking = Networking(is_limited=True)
        self._kept: dict[str, Kept] = {}
        self._failures: dict[str, _Failure] = {}
        self._flights: dict[str, asyncio.Task[Grant | NotRenewed]] = {}

    def configure(self, session: str, networking: Networking) -> None:
        """Renew for this session, within what its Environment reaches."""
        self._session, self._networking = session, networking

    async def close(self) -> None:
        """Give what is being written a moment: a rotated refresh token that is lost is a grant that is lost."""
        await self._background.close()

    async def before_use(self, credential: OauthCredential) -> str:
        """Return the access token to send, renewed if it is about to end.

        Where that fails the old one is sent all the same: whether it has ended is for the MCP server to say.
        """
        grant = self._grant_of(credential)
        if credential.terms is None or not is_due(grant, self._clock) or self._failure_of(credential) is not None:
            return grant.access_token
        renewed = await self._renewed(credential, credential.terms)
        return renewed.access_token if isinstance(renewed, Grant) else grant.access_token

    async def after_refusal(self, credential: OauthCredential, refused: str, *, is_scope: bool) -> str:
        """Return another access token than the one that an MCP server refused. Raises: RenewalError."""
        grant = self._grant_of(credential)
        if grant.access_token != refused:  # it was renewed or rotated meanwhile
            return grant.access_token
        shown = f"credential {credential.id}"
        if credential.terms is None:
            raise RenewalError(f"it does not accept {shown}, which has no refresh; store a new access token")
        kept = self._kept.get(credential.id)
        pause = SCOPE_PAUSE_SECONDS if is_scope else RETRY_PAUSE_SECONDS
        if kept is not None and kept.grant is grant and self._clock.monotonic() - kept.renewed_at < pause:
            wanted = "wants more scope than it has" if is_scope else "does not accept its new access token either"
            raise RenewalError(f"the access token of {shown} was just renewed, and the server {wanted}")
        failure = self._failure_of(credential)
        if failure is None:
            renewed = await self._renewed(credential, credential.terms)
            if isinstance(renewed, Grant):
                return renewed.access_token
            failure = self._failure_of(credential)
        said = failure.message if failure is not None else "it changed meanwhile"
        raise RenewalError(f"the access token of {shown} cannot be renewed: {said}")

    def held(self, credential: OauthCredential) -> str:
        """Return the newest access token as it is."""
        return self._grant_of(credential).access_token

    async def for_probe(self, credential: OauthCredential, refused: str) -> Grant | NotRenewed | None:
        """Renew a token that was refused, or return the one that came meanwhile; null where there is no refresh.

        Somebody asks for this one, so the pause after a failure does not hold it back.
        """
        grant = self._grant_of(credential)
        if grant.access_token != refused:
            return grant
        return None if credential.terms is None else await self._renewed(credential, credential.terms)

    def _grant_of(self, credential: OauthCredential) -> Grant:
        """Return the newest grant: the one held here, unless the file shows one that this process has not seen."""
        kept = self._kept.get(credential.id)
        if kept is not None and credential.version not in kept.versions:
            del self._kept[credential.id]
            kept = None
        return credential.grant if kept is None else kept.grant

    def _failure_of(self, credential: OauthCredential) -> _Failure | None:
        failure = self._failures.get(credential.id)
        if failure is None or failure.version != credential.version:
            return None
        return failure if self._clock.monotonic() < failure.until else None

    async def _renewed(self, credential: OauthCredential, terms: RefreshTerms) -> Grant | NotRenewed:
        """Join the refresh of a credential, or begin it. A caller that leaves does not end it."""
        flight = self._flights.get(credential.id)
        if flight is None:
            flight = self._background.run(self._renew(credential, terms))
            self._flights[credential.id] = flight
            flight.add_done_callback(lambda _: self._flights.pop(credential.id, None))
        return await asyncio.shield(flight)

    async def _renew(self, credential: OauthCredential, terms: RefreshTerms) -> Grant | NotRenewed:
        if credential.write_back:
            anothers = await self._turn(credential)
            if isinstance(anothers, NotRenewed):
                self._refuse(credential, "", anothers)
            if anothers is not None:
                return anothers
        grant = self._grant_of(credential)
        answer = await self._endpoint.renew(terms, grant.refresh_token or "", self._networking)
        if isinstance(answer, Renewed):
            return self._take(credential, grant, answer)
        if answer.is_final and credential.write_back:
            anothers = await self._from_file(credential, REJECTED_SECONDS)
            if anothers is not None:
                return anothers
        self._refuse(credential, self._version_of(credential), answer)
        return answer

    def _take(self, credential: OauthCredential, before: Grant, answer: Renewed) -> Grant:
        now = self._clock.monotonic()
        grant = Grant(
            access_token=answer.access_token,
            refresh_token=answer.refresh_token or before.refresh_token,
            due_at=due_at(answer.expires_in, now),
        )
        had_failed = self._failures.pop(credential.id, None) is not None
        kept = self._kept.get(credential.id) or Kept(
            grant=grant, version=credential.version, versions={credential.version}, writes=credential.write_back
        )
        kept.grant, kept.renewed_at, kept.expires_in = grant, now, answer.expires_in
        self._kept[credential.id] = kept
        _log.info("grant_renewed", credential=credential.id, rotated=answer.refresh_token is not None)
        if kept.writes:
            self._write_back.begin(self._session, credential.id, kept)
        elif had_failed:
            self._report(credential, kept.version)
        return grant

    def _refuse(self, credential: OauthCredential, version: str, answer: NotRenewed) -> None:
        pause = FINAL_PAUSE_SECONDS if answer.is_final else RETRY_PAUSE_SECONDS
        until = self._clock.monotonic() + pause
        known = self._failures.get(credential.id)
        self._failures[credential.id] = _Failure(version=credential.version, message=answer.message, until=until)
        _log.warning("grant_not_renewed", credential=credential.id, problem=answer.message)
        if known is None or (known.version, known.message) != (credential.version, answer.message):
            self._report(credential, version, answer)

    def _report(self, credential: OauthCredential, version: str, problem: NotRenewed | None = None) -> None:
        if version:
            said = {"version": version, "message": None if problem is None else problem.message[:MESSAGE_LENGTH_MAX]}
            said |= {"kind": "failed" if problem is None or problem.is_final else "connect_error"}
            self._background.run(self._write_back.report(self._session, credential.id, said))

    def _version_of(self, credential: OauthCredential) -> str:
        kept = self._kept.get(credential.id)
        return credential.version if kept is None else kept.version

    async def _turn(self, credential: OauthCredential) -> Grant | NotRenewed | None:
        """Wait for the turn to renew; return the grant that another session got meanwhile.

        One that got it, and whose grant does not come, is a failure: a refresh token that comes twice may end them all.
        """
        until = self._clock.monotonic() + ANOTHERS_SECONDS
        while True:
            try:
                # looked up each time: our own last grant may be stored meanwhile
                await self._server.take_turn(self._session, credential.id, self._version_of(credential))
            except StaleGrantError:
                grant = await self._from_file(credential, TURN_SECONDS)
                if grant is not None:
                    return grant
                if self._clock.monotonic() < until:
                    continue
                return NotRenewed(message="another session renews it, and its new one has not come", is_final=False)
            except (NotKeptError, ServerUnavailableError):
                pass
            return None

    async def _from_file(self, credential: OauthCredential, seconds: float) -> Grant | None:
        """Wait for a version in the file that this process has not seen."""
        kept = self._kept.get(credential.id)
        known = {credential.version} if kept is None else kept.versions
        until = self._clock.monotonic() + seconds
        while True:
            found = self._newest(credential.id)
            if found is not None and found.version not in known:
                return self._grant_of(found)
            if self._clock.monotonic() >= until:
                return None
            await asyncio.sleep(LOOK_SECONDS)
