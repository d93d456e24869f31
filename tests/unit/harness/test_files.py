"""Files that messages name: the model gets their content, or reads why there is none (API reference §5.1)."""

import base64
from typing import Any

import pytest

from managed_agents.contracts.events import types
from managed_agents.harness.history.files import Content
from support.harness import CUSTOM_TOOL, Harness, config_for
from support.models import Answer, text, tool

PNG = Content(media_type="image/png", filename="a.png", data=b"\x89PNG")
PDF = Content(media_type="application/pdf", filename="a.pdf", data=b"%PDF")
NOTES = Content(media_type="text/markdown; charset=utf-8", filename="notes.md", data="häuser".encode())


def reference(kind: str, file_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "file", "file_id": file_id}, **fields}


def user(*blocks: Any) -> dict[str, Any]:
    return {"type": "user.message", "content": list(blocks)}


def encoded(content: Content, media_type: str) -> dict[str, Any]:
    return {"type": "base64", "media_type": media_type, "data": base64.b64encode(content.data).decode()}


def without_marker(block: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key != "cache_control"}


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("image", PNG, {"type": "image", "source": encoded(PNG, "image/png")}),
        ("document", PNG, {"type": "image", "source": encoded(PNG, "image/png")}),
        ("document", PDF, {"type": "document", "source": encoded(PDF, "application/pdf"), "title": "a.pdf"}),
        (
            "document",
            NOTES,
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "häuser"},
                "title": "notes.md",
            },
        ),
        ("image", NOTES, text("[The file file_1 (notes.md) is no image that can be shown: it is text/markdown.]")),
        (
            "document",
            Content(media_type="application/zip", filename="a.zip", data=b"\xff\xfe\xfd"),
            text("[The file file_1 (a.zip) cannot be shown as a document: it is application/zip.]"),
        ),
        ("image", None, text("[The file file_1 is not available: it does not exist.]")),
    ],
)
async def test_model_gets_the_file_in_its_place(kind: str, content: Content | None, expected: dict[str, Any]) -> None:
    harness = Harness([Answer(text("I see."))])
    if content is not None:
        harness.files.contents["file_1"] = content
    harness.start()
    await harness.turn(user(text("look"), reference(kind, "file_1")))
    await harness.stop()

    (body,) = harness.model.bodies()
    assert without_marker(body["messages"][0]["content"][1]) == expected
    (logged,) = harness.platform.of(types.USER_MESSAGE)
    assert logged["content"][1] == reference(kind, "file_1")


async def test_file_is_read_once_and_again_by_the_next_worker() -> None:
    harness = Harness([Answer(text("One.")), Answer(text("Two.")), Answer(text("Three."))])
    harness.files.contents["file_1"] = PNG
    harness.start()
    await harness.turn(user(reference("image", "file_1")))
    await harness.turn(user(text("again")))
    assert harness.files.reads == ["file_1"]

    await harness.kill()
    harness.start()
    await harness.turn(user(text("and again")))
    await harness.stop()

    assert harness.files.reads == ["file_1", "file_1"]
    _, second, third = harness.model.bodies()
    assert without_marker(third["messages"][0]["content"][0]) == {
        "type": "image",
        "source": encoded(PNG, "image/png"),
    }
    assert [without_marker(block) for block in second["messages"][0]["content"]] == [
        without_marker(block) for block in third["messages"][0]["content"]
    ]


async def test_file_in_a_custom_tool_s_result_is_shown_too() -> None:
    harness = Harness([Answer(tool("lookup_order", order=7)), Answer(text("Fine."))], config=config_for([CUSTOM_TOOL]))
    harness.files.contents["file_1"] = PNG
    harness.start()
    await harness.turn(user(text("go")))
    (use,) = harness.platform.of(types.AGENT_CUSTOM_TOOL_USE)
    content = [reference("image", "file_1")]
    await harness.turn({"type": "user.custom_tool_result", "custom_tool_use_id": use["id"], "content": content})
    await harness.stop()

    result = harness.model.bodies()[-1]["messages"][2]["content"][0]
    assert result["content"] == [{"type": "image", "source": encoded(PNG, "image/png")}]
