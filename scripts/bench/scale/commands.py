"""The command lines of a control plane on loopback, as kubeadm would start it where nothing else is said. Pure."""

from dataclasses import dataclass
from pathlib import Path

ISSUER = "https://kubernetes.default.svc"
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Free ports of this machine."""

    etcd: int
    etcd_peer: int
    apiserver: int
    public: int
    internal: int
    operator: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Requests a second that a controller allows itself; None for the program's own default."""

    qps: int | None = None

    @property
    def flags(self) -> list[str]:
        """Return the flags of kube-controller-manager and kube-scheduler."""
        return [] if self.qps is None else [f"--kube-api-qps={self.qps}", f"--kube-api-burst={2 * self.qps}"]


def etcd(program: Path, folder: Path, ports: Ports) -> list[str]:
    """etcd with its usual durability: every commit is an fdatasync."""
    client, peer = f"http://{HOST}:{ports.etcd}", f"http://{HOST}:{ports.etcd_peer}"
    return [
        str(program),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--quota-backend-bytes=8589934592",
    ]


def apiserver(program: Path, folder: Path, ports: Ports) -> list[str]:
    """Run kube-apiserver with its usual admission, watch cache and fair queueing."""
    key = folder / "service-account.key"
    return [
        str(program),
        f"--etcd-servers=http://{HOST}:{ports.etcd}",
        f"--bind-address={HOST}",
        "--advertise-address=192.0.2.1",  # nobody uses it; without it a host with no default route is refused
        f"--secure-port={ports.apiserver}",
        f"--tls-cert-file={folder / 'tls.crt'}",
        f"--tls-private-key-file={folder / 'tls.key'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--enable-admission-plugins=NodeRestriction",
        "--disable-admission-plugins=TaintNodesByCondition",  # nobody here would take its taint away
        "--endpoint-reconciler-type=none",
    ]


def controller_manager(program: Path, folder: Path, kubeconfig: Path, rates: Rates) -> list[str]:
    """Run kube-controller-manager with credentials of its own for each controller, as kubeadm does."""
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--service-account-private-key-file={folder / 'service-account.key'}",
        f"--root-ca-file={folder / 'tls.crt'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--controllers=*,-node-lifecycle-controller",  # kwok renews Leases late on a busy machine, and no node fails
        f"--bind-address={HOST}",
        "--secure-port=0",
        *rates.flags,
    ]


def scheduler(program: Path, kubeconfig: Path, rates: Rates) -> list[str]:
    """Run kube-scheduler."""
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--secure-port=0",
        *rates.flags,
    ]


def kwok(program: Path, kubeconfig: Path, stages: Path) -> list[str]:
    """Run kwok for every node there is."""
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--config={stages}",
        "--manage-all-nodes=true",
        "--cidr=10.128.0.1/9",
    ]


def server(python: str, folder: Path, ports: Ports) -> list[str]:
    """Run our server without limits of rate: one tenant stands for all."""
    return [
        python,
        "-m",
        "managed_agents.server",
        f"--data={folder / 'server'}",
        f"--host={HOST}",
        f"--kubernetes-api=https://{HOST}:{ports.apiserver}",
        f"--ca-path={folder / 'tls.crt'}",
        f"--token-path={folder / 'server.token'}",
        f"--public-port={ports.public}",
        f"--internal-port={ports.internal}",
        *(f"--{name}-per-minute=0" for name in ("creates", "reads", "writes")),
    ]


def operator(python: str, folder: Path, ports: Ports) -> list[str]:
    """Run our operator."""
    return [
        python,
        "-m",
        "managed_agents.operator",
        f"--server-url=http://{HOST}:{ports.internal}",
        f"--server-token-path={folder / 'operator-server.token'}",
        f"--health-port={ports.operator}",
        "--identity=operator-0",
    ]
