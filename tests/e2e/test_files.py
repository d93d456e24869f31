"""Files into a sandbox and out of it on the cluster: uploaded by SDK, mounted read-only, delivered after idle."""

import anthropic
import pytest

from support.cluster import Namespace, Object, eventually, kubectl, managed, message, script
from support.left_sessions import require_order
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

UPLOADS, OUTPUTS = "/mnt/session/uploads", "/mnt/session/outputs"


def bash(command: str) -> Object:
    return {"tool": "bash", "input": {"command": command}}


def outputs_of(namespace: Namespace, session: str) -> dict[str, str]:
    """Return the ids of a session's outputs by their path."""
    listed = namespace.client.beta.files.list(scope_id=namespace.session_id(session))
    return {file.filename: file.id for file in listed if file.downloadable}


@requirement("files-in", "files-out", "files-end")
def test_a_file_goes_into_a_session_and_what_it_makes_comes_out(namespace: Namespace) -> None:
    client = namespace.client
    uploaded = client.beta.files.upload(file=("numbers.txt", b"1\n2\n3\n", "text/plain"))
    with pytest.raises(anthropic.BadRequestError):
        client.beta.files.download(uploaded.id)
    work = (
        f"cat {UPLOADS}/data/numbers.txt; touch {UPLOADS}/data/x 2>&1; rm -f {UPLOADS}/data/numbers.txt 2>&1;"
        f" mkdir -p {OUTPUTS}/sums && (umask 077; paste -sd+ {UPLOADS}/data/numbers.txt > {OUTPUTS}/sums/total.txt)"
    )
    first = message("first", script(bash(work), {"text": "{{last_tool_result}}"}))
    spec = {
        "agentRef": {"name": "bot"},
        "environmentRef": {"name": "box"},
        "resources": [{"type": "file", "fileId": uploaded.id, "mountPath": f"{UPLOADS}/data/numbers.txt"}],
        "events": [first],
    }
    namespace.apply(managed("Session", "sums", spec))
    said = namespace.wait_idle("sums")["status"]["lastMessage"]["text"]
    assert said.startswith("1\n2\n3\n")
    assert said.count("Read-only file system") == 2

    found = eventually("the output is a file", lambda: outputs_of(namespace, "sums"), seconds=20)
    assert list(found) == ["sums/total.txt"]
    assert client.beta.files.download(found["sums/total.txt"]).read() == b"1+2+3\n"

    client.beta.files.delete(uploaded.id)
    eventually("the idle session has no Pods", lambda: not namespace.pods("sums"), seconds=90)
    again = bash(f"cat {UPLOADS}/data/numbers.txt; echo more > {OUTPUTS}/more.txt")
    namespace.append_event("sums", message("second", script(again, {"text": "{{last_tool_result}}"})))
    eventually("the second output is a file", lambda: "more.txt" in outputs_of(namespace, "sums"), seconds=120)
    assert namespace.wait_idle("sums")["status"]["lastMessage"]["text"] == "1\n2\n3"
    assert outputs_of(namespace, "sums")["sums/total.txt"] == found["sums/total.txt"]

    require_order(namespace.client)
    session = namespace.session_id("sums")
    kubectl("delete", "-n", namespace.name, "session", "sums", "--timeout=60s")
    eventually("its files are gone", lambda: not list(client.beta.files.list(scope_id=session)), seconds=60)


@requirement("files-last")
def test_what_a_job_in_the_background_wrote_before_the_pods_went_is_a_file(namespace: Namespace) -> None:
    # the idle time is 5 s: after the look at the idle event and before the next, which 15 s later would have come
    late = bash(f"(sleep 2; echo late > {OUTPUTS}/late.txt) > /dev/null 2>&1 &")
    namespace.create_session("late", message("first", script(late, {"text": "left"})))
    namespace.wait_idle("late")
    eventually("the idle session has no Pods", lambda: not namespace.pods("late"), seconds=90)
    assert list(outputs_of(namespace, "late")) == ["late.txt"]
