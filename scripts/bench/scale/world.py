"""Everything the scale bench runs on loopback: etcd, kube-apiserver, controllers, kwok, our server and our operator."""

import http.client
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

from bench.scale import commands, credentials, installation, kwok
from bench.scale.commands import HOST, Ports, Rates
from bench.scale.process import Program, Used, started
from managed_agents.contracts.ports import SERVER_AUDIENCE
from managed_agents.kube.access import KubeAccess
from support.apiserver import cached_program
from support.kubeclient import KubeClient, KubeError, eventually
from support.operator_process import image_environment

START_SECONDS = 120.0
"""Bound of each program's start: seconds alone, a minute beside a compiler."""

CONTROLLERS = ("kube-controller-manager", "kube-scheduler")


class MissingError(Exception):
    """A program that the bench needs is not there; the text says what to do."""


@dataclass(kw_only=True)
class World:
    """The running programs by name, and how to reach them."""

    folder: Path
    ports: Ports
    tokens: Mapping[str, str]
    admin: KubeClient
    programs: dict[str, Program] = field(default_factory=dict)
    developer_token: str = ""
    operator_token: str = ""

    @property
    def apiserver_url(self) -> str:
        return f"https://{HOST}:{self.ports.apiserver}"

    @property
    def public_url(self) -> str:
        return f"http://{HOST}:{self.ports.public}"

    @property
    def internal_url(self) -> str:
        return f"http://{HOST}:{self.ports.internal}"

    @property
    def operator_url(self) -> str:
        return f"http://{HOST}:{self.ports.operator}"

    @property
    def etcd_url(self) -> str:
        return f"http://{HOST}:{self.ports.etcd}"

    @property
    def access(self) -> KubeAccess:
        """Return how our own client reaches the kube-apiserver, as its administrator."""
        certificate = (self.folder / "tls.crt").read_text()
        return KubeAccess(url=self.apiserver_url, ca=certificate, fixed_token=self.tokens["admin"])

    def used(self) -> dict[str, Used]:
        """Return what each program uses now. Raises: RuntimeError for one that ended."""
        for program in self.programs.values():
            if program.has_ended:
                raise RuntimeError(f"{program.name} ended:\n{program.tail()}")
        return {name: program.used() for name, program in self.programs.items()}

    def stop(self, name: str) -> None:
        """End one program."""
        self.programs.pop(name).stop()

    def start_controllers(self, rates: Rates) -> None:
        """Start kube-controller-manager and kube-scheduler, in place of those that run."""
        for name in CONTROLLERS:
            if name in self.programs:
                self.stop(name)
        manager = self._kubeconfig("system:kube-controller-manager")
        command = commands.controller_manager(_program(CONTROLLERS[0]), self.folder, manager, rates)
        self._start(CONTROLLERS[0], command)
        scheduler = self._kubeconfig("system:kube-scheduler")
        self._start(CONTROLLERS[1], commands.scheduler(_program(CONTROLLERS[1]), scheduler, rates))

    def start_server(self) -> None:
        """Start our server and wait until it has read its objects."""
        self._start("server", commands.server(sys.executable, self.folder, self.ports))
        self._wait("server", lambda: _answers(self.ports.internal, "/readyz"))

    def start_operator(self) -> None:
        """Start our operator; it may work before this returns, or after."""
        token = installation.token_of(self.admin, "managed-agents-operator", installation.SYSTEM)
        config = credentials.kubeconfig(self.folder, "operator", self.apiserver_url, token)
        environment = {**image_environment(self.folder / "image"), "KUBECONFIG": str(config)}
        self._start("operator", commands.operator(sys.executable, self.folder, self.ports), environment)

    def wait_operator(self) -> None:
        """Wait until the operator answers."""
        self._wait("operator", lambda: _answers(self.ports.operator, "/healthz"))

    def _kubeconfig(self, user: str) -> Path:
        return credentials.kubeconfig(self.folder, user.rpartition(":")[2], self.apiserver_url, self.tokens[user])

    def _start(self, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        self.programs[name] = started(name, command, self.folder, environment)

    def _wait(self, name: str, is_ready: Callable[[], bool]) -> None:
        program = self.programs[name]
        with suppress(TimeoutError):
            eventually(lambda: program.has_ended or is_ready(), seconds=START_SECONDS)
        if program.has_ended or not is_ready():
            raise RuntimeError(f"{name} did not start:\n{program.tail()}")


@contextmanager
def world(folder: Path, *, nodes: int, rates: Rates) -> Iterator[World]:
    """Start all of it, with so many nodes of kwok; everything ends with the block. Raises: MissingError."""
    programs = {name: _program(name) for name in ("etcd", "kube-apiserver", *CONTROLLERS)}
    kwok_program = kwok.built()
    credentials.make_keys(folder)
    tokens = credentials.make_tokens(folder)
    ports = _free_ports()
    place = World(folder=folder, ports=ports, tokens=tokens, admin=_client(folder, ports.apiserver, tokens["admin"]))
    with ExitStack() as stack:
        stack.callback(_stop_all, place)
        place._start("etcd", commands.etcd(programs["etcd"], folder, place.ports))
        place._start("kube-apiserver", commands.apiserver(programs["kube-apiserver"], folder, place.ports))
        place._wait("kube-apiserver", lambda: _is_ready(place.admin))
        place.start_controllers(rates)
        (folder / "stages.yaml").write_text(kwok.stages())
        place._start("kwok", commands.kwok(kwok_program, place._kubeconfig("admin"), folder / "stages.yaml"))
        for number in range(nodes):
            place.admin.request("POST", "/api/v1/nodes", installation.node(number))
        installation.install(place.admin)
        installation.furnish(place.admin)
        _write_tokens(place)
        place.start_server()
        place.start_operator()
        place.wait_operator()
        yield place


def _write_tokens(place: World) -> None:
    """Put the ServiceAccounts' tokens where server and operator look for them."""
    system = installation.SYSTEM
    (place.folder / "server.token").write_text(installation.token_of(place.admin, "managed-agents-server", system))
    place.operator_token = installation.token_of(
        place.admin, "managed-agents-operator", system, audience=SERVER_AUDIENCE
    )
    (place.folder / "operator-server.token").write_text(place.operator_token)
    place.developer_token = installation.token_of(place.admin, "developer", installation.NAMESPACE)


def _stop_all(place: World) -> None:
    for name in reversed(list(place.programs)):
        place.stop(name)


def _program(name: str) -> Path:
    found = cached_program(name)
    if found is None:
        raise MissingError(f"{name} is not in the cache; build it with `make cluster`")
    return found


def _client(folder: Path, port: int, token: str) -> KubeClient:
    context = ssl.create_default_context(cafile=str(folder / "tls.crt"))
    return KubeClient(host=HOST, port=port, context=context, token=token, timeout_seconds=60.0)


def _is_ready(client: KubeClient) -> bool:
    try:
        client.request("GET", "/readyz")
        client.request("GET", "/api/v1/namespaces/default")
    except (OSError, KubeError):
        return False
    return True


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _free_ports() -> Ports:
    """Return six ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in fields(Ports)]
        for one in sockets:
            one.bind((HOST, 0))
        numbers = [int(one.getsockname()[1]) for one in sockets]
    return Ports(**dict(zip((one.name for one in fields(Ports)), numbers, strict=True)))
