"""What an installation may set, by flag or environment, with units and reasons."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from managed_agents.contracts import names, ports
from managed_agents.contracts.egress import parse_rules
from managed_agents.contracts.web_search import parse_web_search

Quantities = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerResources:
    """Requests and limits of a container, as Kubernetes quantities."""

    requests: Quantities
    limits: Quantities

    def manifest(self) -> dict[str, dict[str, str]]:
        """Render the `resources` of a container."""
        return {"requests": dict(self.requests), "limits": dict(self.limits)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """What the builders of a session's objects need to know about the installation."""

    server_url: str = f"http://managed-agents-server.{names.SYSTEM_NAMESPACE}.svc:{ports.SERVER_INTERNAL_PORT}"
    harness_image: str = "managed-agents/harness:dev"
    sandbox_image: str = "managed-agents/sandbox:dev"
    image_pull_policy: str = "IfNotPresent"
    system_namespace: str = names.SYSTEM_NAMESPACE
    egress_rules: str = ""
    """The administrator's rules for the network of sandboxes, as JSON for each proxy (docs/egress.md)."""
    web_search: str = ""
    """Who answers web searches, as JSON for each proxy (docs/web-tools.md)."""
    isolating_runtimes: tuple[str, ...] = ("gvisor", "kata")
    """RuntimeClasses that bring a kernel of their own, also with a suffix (`kata-qemu`)."""
    pod_pids_limit: int = 0
    """Processes and threads of a Pod as the kubelets' configuration bounds them; 0: nobody said so."""
    idle_timeout_seconds: int = 120
    """Where an Environment says nothing: long enough for a person's next message to find its harness warm."""
    # Each may use a core: half of one made a Pod's start, half a second of CPU, take a whole second.
    proxy: ContainerResources = field(
        default_factory=lambda: ContainerResources(
            requests={"cpu": "10m", "memory": "48Mi"}, limits={"cpu": "1", "memory": "192Mi"}
        )
    )
    harness: ContainerResources = field(
        default_factory=lambda: ContainerResources(
            requests={"cpu": "20m", "memory": "64Mi"}, limits={"cpu": "1", "memory": "512Mi"}
        )
    )
    supervisor: ContainerResources = field(
        default_factory=lambda: ContainerResources(
            requests={"cpu": "10m", "memory": "32Mi"}, limits={"cpu": "1", "memory": "256Mi"}
        )
    )
    sandbox: ContainerResources = field(
        default_factory=lambda: ContainerResources(
            requests={"cpu": "50m", "memory": "64Mi"},
            limits={"cpu": "1", "memory": "1Gi", "ephemeral-storage": "4Gi"},
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The process's settings; `session` goes to the pure builders."""

    session: SessionSettings
    identity: str
    """Holder of the Lease: the Pod's name."""
    namespace: str
    server_token_path: str
    health_port: int
    leader_elect: bool
    sweep_seconds: float
    workers: int


def _environment(name: str, default: str) -> str:
    return os.environ.get(f"MANAGED_AGENTS_{name}", default)


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Read flags, then `MANAGED_AGENTS_*` variables, then defaults. Exits with usage on a bad flag."""
    defaults = SessionSettings()
    parser = argparse.ArgumentParser(prog="python -m managed_agents.operator", description=__doc__)
    parser.add_argument("--server-url", default=_environment("SERVER_URL", defaults.server_url))
    parser.add_argument("--server-token-path", default=_environment("SERVER_TOKEN_PATH", ports.SERVER_TOKEN_PATH))
    parser.add_argument("--harness-image", default=_environment("HARNESS_IMAGE", defaults.harness_image))
    parser.add_argument("--sandbox-image", default=_environment("SANDBOX_IMAGE", defaults.sandbox_image))
    parser.add_argument("--image-pull-policy", default=_environment("IMAGE_PULL_POLICY", defaults.image_pull_policy))
    parser.add_argument("--namespace", default=_environment("NAMESPACE", names.SYSTEM_NAMESPACE))
    parser.add_argument("--identity", default=os.environ.get("HOSTNAME", "operator"))
    parser.add_argument(
        "--sandbox-cpu", default=_environment("SANDBOX_CPU", "1"), help="limit of a sandbox, where none is set"
    )
    parser.add_argument("--sandbox-memory", default=_environment("SANDBOX_MEMORY", "1Gi"))
    parser.add_argument("--sandbox-storage", default=_environment("SANDBOX_STORAGE", "4Gi"))
    parser.add_argument(
        "--egress-rules",
        default=_environment("EGRESS_RULES", ""),
        type=_egress_rules,
        help="JSON: what the administrator adds to the network of sandboxes (docs/egress.md)",
    )
    parser.add_argument(
        "--web-search",
        default=_environment("WEB_SEARCH", ""),
        type=_web_search,
        help="JSON: who answers web searches (docs/web-tools.md)",
    )
    parser.add_argument(
        "--isolating-runtimes",
        default=_environment("ISOLATING_RUNTIMES", ",".join(defaults.isolating_runtimes)),
        help="RuntimeClasses with a kernel of their own, separated by commas",
    )
    parser.add_argument(
        "--pod-pids-limit",
        type=int,
        default=int(_environment("POD_PIDS_LIMIT", "0")),
        help="podPidsLimit of the kubelets, told by each Session; 0: not known",
    )
    parser.add_argument("--health-port", type=int, default=ports.OPERATOR_HEALTH_PORT)
    parser.add_argument("--leader-elect", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--sweep-seconds", type=float, default=420.0, help="how often lost watch events are looked for")
    parser.add_argument("--workers", type=int, default=8, help="objects reconciled at once")
    return _settings(parser.parse_args(arguments), defaults)


def _egress_rules(text: str) -> str:
    """Check the rules here, so that a bad one stops the operator and not every proxy."""
    try:
        parse_rules(text)
    except (TypeError, ValueError) as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None
    return text.strip()


def _web_search(text: str) -> str:
    """Check the setting here, as the rules."""
    try:
        parse_web_search(text)
    except (TypeError, ValueError) as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None
    return text.strip()


def _settings(flags: argparse.Namespace, defaults: SessionSettings) -> Settings:
    limits = {"cpu": flags.sandbox_cpu, "memory": flags.sandbox_memory, "ephemeral-storage": flags.sandbox_storage}
    session = SessionSettings(
        server_url=flags.server_url.rstrip("/"),
        harness_image=flags.harness_image,
        sandbox_image=flags.sandbox_image,
        image_pull_policy=flags.image_pull_policy,
        system_namespace=flags.namespace,
        egress_rules=flags.egress_rules,
        web_search=flags.web_search,
        isolating_runtimes=tuple(name.strip() for name in flags.isolating_runtimes.split(",") if name.strip()),
        pod_pids_limit=flags.pod_pids_limit,
        sandbox=ContainerResources(requests=defaults.sandbox.requests, limits=limits),
    )
    return Settings(
        session=session,
        identity=flags.identity,
        namespace=flags.namespace,
        server_token_path=flags.server_token_path,
        health_port=flags.health_port,
        leader_elect=flags.leader_elect,
        sweep_seconds=flags.sweep_seconds,
        workers=flags.workers,
    )
