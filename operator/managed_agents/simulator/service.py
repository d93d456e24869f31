"""One request from bytes to what is sent: the state of the simulator, without HTTP types."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from managed_agents.simulator.answer import Answer
from managed_agents.simulator.clock import Clock
from managed_agents.simulator.errors import ApiError, invalid_request
from managed_agents.simulator.models import check_length, check_model
from managed_agents.simulator.planning import plan
from managed_agents.simulator.records import Record, Records
from managed_agents.simulator.rendering import Envelope
from managed_agents.simulator.script_fields import ScriptError
from managed_agents.simulator.scripts import Attempts, Scripts
from managed_agents.simulator.shapes import Seen
from managed_agents.simulator.steps import Failure
from managed_agents.simulator.usage import Prompt, PromptCache, prompt_of, tokens_of
from managed_agents.simulator.validation import Request, validated


@dataclass(slots=True, kw_only=True)
class Simulator:
    """All state there is; losing it in a restart changes no script's place."""

    clock: Clock
    api_key: str | None = None
    records: Records = field(default_factory=Records)
    scripts: Scripts = field(default_factory=Scripts)
    attempts: Attempts = field(default_factory=Attempts)
    cache: PromptCache = field(default_factory=PromptCache)
    seen: Seen = field(default_factory=Seen)

    def record(self, path: str, body: bytes) -> Record:
        """Keep a request that just arrived and give it its id."""
        return self.records.open(
            path,
            body,
            request_id=f"req_simulated{self.records.last + 1:012d}",
            at=self.clock.wall(),
            monotonic=self.clock.monotonic(),
        )

    def answer(self, record: Record) -> tuple[Request, Answer, Envelope]:
        """The answer to a recorded request of `POST /v1/messages`.

        Raises `ApiError` for a request that the API refuses and for an error that the script asks for.
        """
        request = validated(parsed(record.body), self.seen)
        record.model, record.stream = request.model, request.stream
        check_model(request.model)
        prompt = prompt_of(request.body)
        check_length(request.model, tokens_of(prompt.chars))
        seed, record.attempt = self._seed(request, prompt)
        try:
            script = self.scripts.script_for(request.turns)
        except ScriptError as error:
            raise invalid_request(f"messages: script: {error}") from error
        planned = plan(request, script, attempt=record.attempt, seed=seed)
        if isinstance(planned, Failure):
            raise raised(planned)
        record.step = planned.step
        usage = self.cache.charge(prompt, self.clock.monotonic())
        envelope = Envelope(
            message_id=f"msg_{seed}",
            model=request.model,
            request_id=record.request_id,
            usage=usage,
            speed=request.body.get("speed"),
        )
        return request, planned, envelope

    def count_tokens(self, record: Record) -> int:
        """The input tokens of a recorded request of `POST /v1/messages/count_tokens`. Raises `ApiError`."""
        request = validated(parsed(record.body), self.seen, counting=True)
        record.model = request.model
        check_model(request.model)
        return tokens_of(prompt_of(request.body).chars)

    def _seed(self, request: Request, prompt: Prompt) -> tuple[str, int]:
        """What makes ids unique, and how often this conversation was sent before.

        `metadata.user_id` tells two equal conversations apart. A repeated request gets new ids, as from the real API.
        """
        user = str((request.body.get("metadata") or {}).get("user_id") or "")
        digest = hashlib.blake2b(prompt.digest + user.encode(), digest_size=10).digest()
        attempt = self.attempts.next(digest)
        return f"{digest.hex()}{attempt:04d}", attempt


def parsed(body: bytes) -> Any:
    """The JSON value, or `ApiError` (400)."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid_request(f"The request body is not valid JSON: {error}") from error


def raised(failure: Failure) -> ApiError:
    """The scripted error as the exception the edge renders."""
    return ApiError(
        failure.error_type,
        failure.message,
        status=failure.status,
        retry_after_seconds=failure.retry_after_seconds,
    )
