import socket
from pathlib import Path

import pytest
import yaml

from demo.forward import Endpoint, forward
from demo.model import Model, for_model, model_from, provider_objects

MODEL = Model(endpoint="https://api.anthropic.com", key="k", id="claude-x")
SAMPLES = Path(__file__).resolve().parents[3] / "manifests" / "samples"


def test_without_a_key_the_model_is_the_simulated_one() -> None:
    assert model_from({}) is None
    assert model_from({"MODEL_API_KEY": ""}) is None


def test_a_key_asks_for_the_real_one_and_a_url_for_any_other() -> None:
    real = model_from({"MODEL_API_KEY": "k"})
    assert real is not None
    assert (real.host, real.port) == ("api.anthropic.com", 443)
    other = model_from({"MODEL_API_KEY": "k", "MODEL_ENDPOINT": "http://gateway.example:8080/v", "MODEL_ID": "m"})
    assert other is not None
    assert (other.host, other.port, other.id) == ("gateway.example", 8080, "m")


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_samples_for_a_real_model_hold_no_script(path: Path) -> None:
    text = yaml.safe_dump_all([for_model(manifest, MODEL) for manifest in yaml.safe_load_all(path.read_text())])
    assert "```script" not in text
    assert "id: simulated" not in text


def test_the_key_is_in_the_secret_alone() -> None:
    secret, provider = provider_objects(MODEL)
    assert secret["stringData"] == {"api-key": "k"}
    assert provider["spec"]["models"][0]["id"] == "claude-x"


@pytest.mark.parametrize(
    ("endpoint", "inside"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com"),
        ("http://localhost:4000/v", "http://model.demo.internal:4000/v"),
        ("http://127.0.0.1:4000", "http://model.demo.internal:4000"),
        ("http://[::1]:4000", "http://model.demo.internal:4000"),
    ],
)
def test_an_address_of_this_machine_gets_a_name_inside_the_cluster(endpoint: str, inside: str) -> None:
    model = Model(endpoint=endpoint, key="k", id="m")
    assert model.reached_as(model.name_inside).endpoint == inside


def test_forwarded_connections_carry_bytes_both_ways() -> None:
    with socket.create_server(("127.0.0.1", 0)) as target, socket.create_server(("127.0.0.1", 0)) as listener:
        forward(listener, Endpoint(host="127.0.0.1", port=target.getsockname()[1]))
        with socket.create_connection(listener.getsockname(), timeout=5) as client:
            served, _ = target.accept()
            with served:
                client.sendall(b"ping")
                assert served.recv(4) == b"ping"
                served.sendall(b"pong")
                assert client.recv(4) == b"pong"
                client.shutdown(socket.SHUT_WR)
                assert served.recv(4) == b""
            assert client.recv(4) == b""
