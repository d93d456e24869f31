"""Flags and their defaults."""

from pathlib import Path

import pytest

from managed_agents.server.settings import parse_settings


def test_in_a_cluster_only_the_directory_is_needed() -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
    settings = parse_settings(["--data", "/data"], environment)
    assert (settings.data, settings.public_port, settings.internal_port) == (Path("/data"), 8400, 8401)
    assert settings.kubernetes_api == "https://10.96.0.1:6443"


def test_ipv6_hosts_are_bracketed_and_flags_win() -> None:
    assert (
        parse_settings(["--data", "d"], {"KUBERNETES_SERVICE_HOST": "fd00::1"}).kubernetes_api
        == "https://[fd00::1]:443"
    )
    chosen = parse_settings(["--data", "d", "--kubernetes-api", "http://x", "--public-port", "1"], {})
    assert (chosen.kubernetes_api, chosen.public_port) == ("http://x", 1)


def test_the_directory_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings([], {})
    assert "--data" in capsys.readouterr().err


def test_limits_come_from_the_environment_unless_a_flag_says_otherwise() -> None:
    environment = {"READS_PER_MINUTE": "7", "STREAMS_MAX": "9"}
    settings = parse_settings(["--data", "d", "--streams-max", "5"], environment)
    assert (settings.creates_per_minute, settings.reads_per_minute, settings.streams_max) == (300, 7, 5)
