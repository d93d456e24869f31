"""Decisions and files of making the cluster; the making itself is proven by having one."""

import json
from pathlib import Path

import pytest
import yaml

from cluster.access import Access, environment_text, recorded_access
from cluster.engine import daemon_settings
from cluster.host import Host, distribution_of, way_for
from cluster.kindcluster import CONFIG, config_text
from cluster.nodefiles import lay_out_node
from cluster.nodeimage import pod_spec_base
from cluster.paths import Paths, engine_name_for, paths_from
from cluster.progress import ClusterError, Progress
from cluster.recipe import ETCD, hash_of
from cluster.remains import mounts_below, program_runs
from cluster.runtime_wrapper import held_capabilities, specification_in, without_missing


def host(*, engine: bool = False, image: bool = False, root: bool = True, distribution: str = "debian") -> Host:
    return Host(engine_answers=engine, has_node_image=image, is_root=root, distribution=distribution)


def paths_in(folder: Path) -> Paths:
    return Paths(cache=folder / "cache", engine="trial")


def test_engine_that_has_the_node_image_is_used() -> None:
    assert way_for(host(engine=True, image=True, root=False, distribution="fedora")) == "plain"


@pytest.mark.parametrize("distribution", ["debian", "ubuntu"])
def test_root_on_debian_makes_its_own_node(distribution: str) -> None:
    assert way_for(host(distribution=distribution)) == "self-made"
    assert way_for(host(engine=True, distribution=distribution)) == "self-made"


@pytest.mark.parametrize(
    ("observed", "words"),
    [
        (host(root=False), ["no container engine answers", "an ordinary user on debian"]),
        (host(distribution="fedora"), ["no container engine answers", "root on fedora"]),
        (host(engine=True, root=False), ["cannot pull kindest/node"]),
    ],
)
def test_refusal_says_what_is_missing(observed: Host, words: list[str]) -> None:
    with pytest.raises(ClusterError) as refusal:
        way_for(observed)
    assert all(word in str(refusal.value) for word in words)


def test_distribution_is_read_with_and_without_quotes() -> None:
    assert distribution_of('NAME="Debian"\nID=debian\n') == "debian"
    assert distribution_of('ID="ubuntu"\n') == "ubuntu"
    assert distribution_of("") == "an unknown distribution"


def test_kind_configuration_maps_the_server_and_bounds_pods() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    assert config["name"] == "managed-agents"
    mapping = {"containerPort": 30840, "hostPort": 8400, "listenAddress": "127.0.0.1", "protocol": "TCP"}
    assert config["nodes"] == [{"role": "control-plane", "extraPortMappings": [mapping]}]
    kubelet = yaml.safe_load(config["kubeadmConfigPatches"][0])
    assert (kubelet["podPidsLimit"], kubelet["maxPods"]) == (512, 220)


def test_self_made_node_adds_its_patches_to_the_same_configuration() -> None:
    text = CONFIG.read_text()
    assert config_text(text, "plain") == text
    patched = yaml.safe_load(config_text(text, "self-made"))
    added = patched["kubeadmConfigPatches"].pop()
    assert patched == yaml.safe_load(text)
    assert yaml.safe_load(added) == {"kind": "InitConfiguration", "patches": {"directory": "/kind/patches"}}


def test_cache_folder_follows_the_xdg_variable() -> None:
    assert paths_from({"XDG_CACHE_HOME": "/x", "HOME": "/h"}).cache == Path("/x/managed-agents")
    assert paths_from({"HOME": "/h"}).cache == Path("/h/.cache/managed-agents")


def test_hash_changes_with_a_name_a_text_and_a_byte(tmp_path: Path) -> None:
    file = tmp_path / "go.mod"
    file.write_text("module a\n")
    before = {hash_of(["x"], [file]), hash_of(["y"], [file]), hash_of(["x"])}
    file.write_text("module b\n")
    assert len(before | {hash_of(["x"], [file])}) == 4
    assert len(ETCD.key) == 16


def test_mounts_of_the_engine_are_found_innermost_first() -> None:
    lines = [
        "1 0 0:1 / / rw - ext4 a a",
        "2 1 0:2 / /c/engine/docker rw - ext4 a a",
        "3 2 0:3 / /c/engine/docker/overlay2/x/merged rw - overlay a a",
        "4 1 0:4 / /run/own/netns/x rw - nsfs a a",
        "5 1 0:4 / /c/engine-of-others rw - ext4 a a",
    ]
    assert mounts_below("\n".join(lines), (Path("/c/engine"), Path("/run/own"))) == [
        "/c/engine/docker/overlay2/x/merged",
        "/c/engine/docker",
        "/run/own/netns/x",
    ]


def test_pid_file_of_a_dead_or_foreign_process_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "engine.pid"
    assert not program_runs(file, "pytest")
    file.write_text("not a number")
    assert not program_runs(file, "pytest")
    file.write_text("1")
    assert not program_runs(file, "a word that the first process never has")


def test_access_written_by_up_is_read_by_later_commands(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    assert recorded_access(paths) is None
    paths.state.mkdir(parents=True)
    for way in ("plain", "self-made"):
        paths.environment_file.write_text(environment_text(Access(paths=paths, way=way)))
        assert recorded_access(paths) == Access(paths=paths, way=way)


def test_engine_keeps_to_its_own_sockets_folders_and_cgroup(tmp_path: Path) -> None:
    settings = json.loads(json.dumps(daemon_settings(paths_in(tmp_path))))
    assert settings["data-root"] == f"{tmp_path}/cache/engine/docker"
    assert all(settings[name].startswith("/run/trial/") for name in ("containerd", "exec-root", "pidfile"))
    assert settings["hosts"] == ["unix:///run/trial/docker.sock"]
    assert settings["cgroup-parent"] == "/trial"


def test_engines_of_two_caches_never_meet() -> None:
    home = Path("/home/u")
    assert engine_name_for(home / ".cache/managed-agents", home) == "managed-agents"
    names = {engine_name_for(Path(cache), home) for cache in ("/a/managed-agents", "/b/managed-agents")}
    assert len(names) == 2
    assert all(name.startswith("managed-agents-") for name in names)


def test_wrapper_drops_capabilities_the_host_does_not_hold() -> None:
    held = held_capabilities("Name:\tx\nCapBnd:\t0000000000000005\n")
    assert held == {"CAP_CHOWN", "CAP_DAC_READ_SEARCH"}
    wanted = {"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"], "effective": ["CAP_SYS_RESOURCE"]}
    kept = {"bounding": ["CAP_CHOWN"], "effective": []}
    create = without_missing({"process": {"args": ["x"], "capabilities": wanted}, "root": {}}, held)
    assert create == {"process": {"args": ["x"], "capabilities": kept}, "root": {}}
    assert without_missing({"args": ["x"], "capabilities": wanted}, held) == {"args": ["x"], "capabilities": kept}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--root", "/r", "create", "--bundle", "/b", "id"], Path("/b/config.json")),
        (["exec", "--process", "/p.json", "id"], Path("/p.json")),
        (["kill", "id", "9"], None),
    ],
)
def test_wrapper_finds_the_specification_of_a_runc_command(arguments: list[str], expected: Path | None) -> None:
    assert specification_in(arguments) == expected


def test_pod_specification_gets_kinds_hook_and_loses_limits() -> None:
    base = pod_spec_base({"process": {"args": ["sh"], "rlimits": [1]}, "linux": {}})
    hook = {"path": "/kind/bin/mount-product-files.sh"}
    assert base == {"process": {"args": ["sh"]}, "linux": {}, "hooks": {"createContainer": [hook]}}


def test_debian_tree_becomes_a_node(tmp_path: Path) -> None:
    root, kind_base = tmp_path / "root", tmp_path / "kind"
    for folder in ("lib/systemd/system/multi-user.target.wants", "etc/systemd", "sbin", "opt/cni/bin"):
        (root / folder).mkdir(parents=True)
    (root / "lib/systemd/system/multi-user.target.wants/getty.target").touch()
    for name in ("etc/systemd/system/kubelet.service", "usr/local/bin/entrypoint", "etc/containerd/config.toml"):
        (kind_base / name).parent.mkdir(parents=True, exist_ok=True)
        (kind_base / name).write_text(name)
    lay_out_node(root, kind_base, {"usr/bin/kubelet": kind_base / "usr/local/bin/entrypoint"})
    assert not list((root / "lib/systemd/system/multi-user.target.wants").iterdir())
    enabled = {unit.name for unit in (root / "etc/systemd/system/multi-user.target.wants").iterdir()}
    assert enabled == {"kubelet.service", "containerd.service", "undo-mount-hacks.service"}
    assert (root / "usr/local/bin/entrypoint").stat().st_mode & 0o777 == 0o755
    assert (root / "opt/cni/bin").readlink() == Path("/usr/lib/cni")
    assert (root / "kind/version").read_text() == "v1.34.4"
    assert "pause:3.10.1" in (root / "etc/containerd/config.toml").read_text()
    chain = json.loads((root / "etc/cni/net.d/10-managed-agents.conflist").read_text())
    assert [plugin["type"] for plugin in chain["plugins"]] == ["ptp", "portmap", "announce-pod"]


def test_failed_step_shows_the_end_of_its_log_and_where_it_is(tmp_path: Path) -> None:
    progress = Progress(logs=tmp_path)
    with pytest.raises(ClusterError) as failure:
        progress.run("build", ["sh", "-c", "echo the reason; exit 3"])
    assert "ended with status 3" in str(failure.value)
    assert "| the reason" in str(failure.value)
    assert str(tmp_path / "build.log") in str(failure.value)


def test_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no-such-program is not installed"):
        Progress(logs=tmp_path).run("build", ["no-such-program"])
