"""Fields that several bodies share: names, metadata, models."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from managed_agents.server.validation import Body

METADATA_PAIRS_MAX = 16

Name = Annotated[str, Field(min_length=1, max_length=256)]
Description = Annotated[str, Field(max_length=2048)]
MetadataKey = Annotated[str, Field(min_length=1, max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=METADATA_PAIRS_MAX)]
MetadataPatch = dict[MetadataKey, MetadataValue | None]


def _typed(value: Any) -> Any:
    """Take the shorthand `"high"` for `{"type": "high"}`."""
    return {"type": value} if isinstance(value, str) else value


def _identified(value: Any) -> Any:
    """Take a model's id for `{"id": …}`."""
    return {"id": value} if isinstance(value, str) else value


class Effort(Body):
    """How hard the model works on each call."""

    type: Literal["low", "medium", "high", "xhigh", "max"]


EffortLevel = Literal["low", "medium", "high", "xhigh", "max"]
EffortInput = Annotated[Effort, BeforeValidator(_typed, json_schema_input_type=EffortLevel | Effort)]


class ModelConfig(Body):
    """A model with its options. Which of them a model takes is its provider's to say."""

    id: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[!-~]+$")]
    effort: EffortInput | None = None
    inference_geo: Literal["us", "global"] | None = None
    speed: Literal["standard", "fast"] | None = None


ModelInput = Annotated[ModelConfig, BeforeValidator(_identified, json_schema_input_type=str | ModelConfig)]


def _unbuilt(what: str) -> AfterValidator:
    def refuse(value: Any) -> Any:
        if value:
            raise ValueError(f"{what} not supported by this server yet; leave the field out")
        return value

    return AfterValidator(refuse)


Skills = Annotated[list[dict[str, Any]], _unbuilt("skills are")]
Multiagent = Annotated[dict[str, Any] | None, _unbuilt("multiagent is")]


class ExecutionIdentity(Body):
    """Who a run acts as; this version knows the default alone."""

    type: Literal["service_account"]
