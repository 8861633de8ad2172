"""Messages, attachments and tools of llm in OpenAI's form, as they are sent."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llm
import pytest
from llm.parts import AttachmentPart, Message, ReasoningPart, TextPart, ToolCallPart, ToolResultPart

from tests.support.media import MP3, PDF, PNG, WAV
from tests.support.server import Server, stream, whole


@pytest.fixture
def server(endpoints: Callable[..., Path]) -> Iterator[Server]:
    with Server(stream("Hello")) as server:
        endpoints(mybox=server)
        yield server


def sent(server: Server, messages: list[Message], **options: Any) -> Any:
    """The wire messages of llm's messages."""
    llm.get_model("gpt-4o").prompt(messages=messages, **options).text()
    return server.requests[-1].json["messages"]


@pytest.mark.parametrize("model_id", ["gpt-4o", "gpt-4o-mini"])
def test_the_requested_model_is_sent(server: Server, model_id: str) -> None:
    llm.get_model(model_id).prompt("hi").text()
    assert server.requests[0].json["model"] == model_id


def test_a_system_prompt_is_sent_once_until_it_changes(server: Server) -> None:
    turn = [llm.user("u"), llm.assistant("a")]
    messages = [
        *(llm.system("A"), *turn, llm.system("A"), *turn),
        *(llm.system("B"), *turn, llm.system("A"), llm.user("u")),
    ]
    roles = [(m["role"], m["content"]) for m in sent(server, messages)]
    assert [text for role, text in roles if role == "system"] == ["A", "B", "A"]
    assert [role for role, _ in roles] == [
        *("system", "user", "assistant", "user", "assistant"),
        *("system", "user", "assistant", "system", "user"),
    ]


def test_an_image_by_path_is_sent_as_data(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    (message,) = sent(server, [llm.user("describe", llm.Attachment(path=str(path)))])
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert message == {
        "role": "user",
        "content": [
            {"type": "text", "text": "describe"},
            {"type": "image_url", "image_url": {"url": url}},
        ],
    }


def test_an_image_by_url_is_sent_as_its_url(server: Server) -> None:
    with Server(stream("never")) as images:
        url = f"{images.origin}/a.png"
        image = llm.Attachment(url=url, type="image/png")
        (message,) = sent(server, [llm.user(image)], image_detail="high")
        assert images.connections == 0
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": url, "detail": "high"}}
    ]


def test_audio_and_pdf(server: Server) -> None:
    parts = [
        llm.Attachment(content=PDF, type="application/pdf"),
        llm.Attachment(content=WAV, type="audio/wav"),
        llm.Attachment(content=b"mp3", type="audio/mpeg"),
    ]
    (message,) = sent(server, [llm.user("listen", *parts)])
    text, pdf, wav, mp3 = message["content"]
    assert text == {"type": "text", "text": "listen"}
    assert pdf["type"] == "file"
    assert pdf["file"]["filename"].endswith(".pdf")
    data = base64.b64encode(PDF).decode()
    assert pdf["file"]["file_data"] == f"data:application/pdf;base64,{data}"
    assert wav["input_audio"] == {"data": base64.b64encode(WAV).decode(), "format": "wav"}
    assert mp3["input_audio"] == {"data": base64.b64encode(b"mp3").decode(), "format": "mp3"}


@pytest.mark.parametrize("by", ["content", "path"])
@pytest.mark.parametrize(("data", "format"), [(WAV, "wav"), (MP3, "mp3")], ids=["wav", "mp3"])
def test_the_audio_format_is_detected(
    server: Server, tmp_path: Path, data: bytes, format: str, by: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    how: dict[str, Any] = {"content": data} if by == "content" else {"path": str(path)}
    prompted = llm.get_model("gpt-4o").prompt("listen", attachments=[llm.Attachment(**how)])
    assert prompted.text() == "Hello"
    (message,) = server.requests[0].json["messages"]
    audio = {"data": base64.b64encode(data).decode(), "format": format}
    assert message["content"][1] == {"type": "input_audio", "input_audio": audio}


@pytest.mark.parametrize(
    ("turn", "content"),
    [
        ([ReasoningPart(text="hm")], ""),
        ([ReasoningPart(redacted=True)], ""),
        ([], ""),
        ([ReasoningPart(text="hm"), TextPart(text="a")], "a"),
        ([TextPart(text="a"), TextPart(text="b")], "ab"),
    ],
)
def test_reasoning_is_not_sent_back_and_roles_alternate(
    server: Server, turn: list[Any], content: str
) -> None:
    messages = [llm.user("u"), Message("assistant", turn), llm.user("v")]
    assert sent(server, messages) == [
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": "v"},
    ]


def test_empty_messages_are_left_out(server: Server) -> None:
    messages = [Message("user", []), Message("system", []), llm.user("v")]
    assert sent(server, messages) == [{"role": "user", "content": "v"}]


def test_tool_calls_and_results(server: Server) -> None:
    messages = [
        llm.user("weather?"),
        llm.assistant(
            ReasoningPart(text="hm"),
            ToolCallPart(name="weather", arguments={"city": "Köln"}, tool_call_id="a"),
            ToolCallPart(name="weather", arguments={}, tool_call_id="b"),
            ToolCallPart(name="search", tool_call_id="c", server_executed=True),
        ),
        llm.tool_message(
            ToolResultPart(name="weather", output="rain", tool_call_id="a"),
            ToolResultPart(name="weather", output="sun", tool_call_id="b"),
        ),
    ]
    _, assistant, first, second = sent(server, messages)
    assert (assistant["role"], assistant["content"]) == ("assistant", None)
    made = [
        (one["id"], one["type"], one["function"]["name"], json.loads(one["function"]["arguments"]))
        for one in assistant["tool_calls"]
    ]
    assert made == [
        ("a", "function", "weather", {"city": "Köln"}),
        ("b", "function", "weather", {}),
    ]
    assert first == {"role": "tool", "tool_call_id": "a", "content": "rain"}
    assert second == {"role": "tool", "tool_call_id": "b", "content": "sun"}


def test_attachments_of_tool_results_are_a_user_message(server: Server) -> None:
    results = [
        llm.ToolResult("camera", "a picture", [llm.Attachment(content=PNG)], tool_call_id="a"),
        llm.ToolResult("ear", "a sound", [llm.Attachment(content=WAV)], tool_call_id="b"),
        llm.ToolResult("clock", "noon", tool_call_id="c"),
    ]
    made = [ToolCallPart(name=one.name, tool_call_id=one.tool_call_id) for one in results]
    history = [llm.user("look"), llm.assistant(*made)]
    model = llm.get_model("gpt-4o")
    model.prompt(messages=history, tool_results=results, image_detail="low").text()
    *_, first, second, third, brought = server.requests[0].json["messages"]
    assert [
        (one["role"], one["tool_call_id"], one["content"]) for one in (first, second, third)
    ] == [
        ("tool", "a", "a picture"),
        ("tool", "b", "a sound"),
        ("tool", "c", "noon"),
    ]
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    sound = {"data": base64.b64encode(WAV).decode(), "format": "wav"}
    assert brought == {
        "role": "user",
        "content": [
            {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
            {"type": "input_audio", "input_audio": sound},
        ],
    }


def test_an_assistant_message_keeps_text_and_tool_calls(server: Server) -> None:
    messages = [
        llm.user("weather?"),
        llm.assistant("Let me see.", ToolCallPart(name="weather", tool_call_id="a")),
        llm.tool_message(ToolResultPart(name="weather", output="rain", tool_call_id="a")),
    ]
    assistant = sent(server, messages)[1]
    assert assistant["content"] == "Let me see."
    assert assistant["tool_calls"][0]["function"] == {"name": "weather", "arguments": "{}"}


def test_a_part_without_its_attachment_is_left_out(server: Server) -> None:
    messages = [Message("user", [TextPart(text="hi"), AttachmentPart(None)])]
    assert sent(server, messages) == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    "how",
    [
        {"path": "/nonexistent/a.png", "type": "image/png"},
        {"url": "http://127.0.0.1:1/a.pdf", "type": "application/pdf"},
    ],
)
def test_an_attachment_that_cannot_be_read_is_a_model_error(
    server: Server, how: dict[str, Any]
) -> None:
    with pytest.raises(llm.ModelError, match=how.get("path") or how["url"]):
        llm.get_model("gpt-4o").prompt("hi", attachments=[llm.Attachment(**how)]).text()
    assert server.requests == []


@pytest.mark.parametrize("type", ["text/csv", "video/mp4", "audio/ogg"])
@pytest.mark.parametrize("by", ["user", "tool"])
def test_an_unsupported_attachment_is_named_in_the_error(
    server: Server, tmp_path: Path, type: str, by: str
) -> None:
    """llm does not check attachments in messages=."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"1,2")
    attachment = llm.Attachment(path=str(path), type=type)
    brought = ToolResultPart(name="f", output="", tool_call_id="a", attachments=[attachment])
    message = llm.user("hi", attachment) if by == "user" else llm.tool_message(brought)
    with pytest.raises(llm.ModelError, match=f"{path} cannot be sent: {type} is not an image"):
        sent(server, [message])
    assert server.requests == []


def test_a_lone_surrogate_in_a_prompt_is_replaced(server: Server) -> None:
    llm.get_model("gpt-4o").prompt("a\ud800b").text()
    assert server.requests[0].json["messages"][0]["content"] == "a\ufffdb"


@pytest.mark.parametrize(
    ("prompt", "label"),
    [
        ({"prompt": "sch\udcf6n"}, "prompt"),
        ({"prompt": "hi", "system": "sch\udcf6n"}, "system prompt"),
        ({"messages": [llm.user("sch\udcf6n")]}, "prompt"),
    ],
)
def test_text_that_was_not_utf8_is_not_sent(
    prompt: dict[str, Any], label: str, server: Server
) -> None:
    with pytest.raises(llm.ModelError, match=rf"^The {label} is not UTF-8 text \(character 4\)"):
        llm.get_model("gpt-4o").prompt(**prompt).text()
    assert server.requests == []


def test_two_surrogates_that_are_one_character_are_sent(server: Server) -> None:
    llm.get_model("gpt-4o").prompt("a\ud83d\udca9b").text()
    assert server.requests[0].json["messages"][0]["content"] == "a💩b"


def test_an_attachment_by_url_is_not_for_ollama_and_one_with_data_is(
    write_config: Callable[[str], Path],
) -> None:
    by_url = llm.Attachment(url="https://example.com/a.png", type="image/png")
    with Server(whole("A dog.")) as ollama, Server(whole("A cat.")) as other:
        write_config(
            f"providers:\n  ollama: {{enabled: true, base_url: '{ollama.url}', models: {{gpt-4o: x}}}}\n"
            f"  mine: {{base_url: '{other.url}', models: {{gpt-4o: x}}}}\n"
        )
        model = llm.get_model("gpt-4o")
        options: Any = {"stream": False, "provider": "ollama,mine"}
        assert model.prompt("?", attachments=[by_url], **options).text() == "A cat."
        data = llm.Attachment(content=PNG)
        assert model.prompt("?", attachments=[data], **options).text() == "A dog."
        with pytest.raises(llm.ModelError, match="ollama: it takes images as data only"):
            model.prompt("?", attachments=[by_url], **options | {"provider": "ollama"}).text()
    assert len(ollama.requests) == len(other.requests) == 1


def test_a_schema_wins_over_json_object(server: Server) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    with pytest.raises(llm.ModelError, match="does not fit"):
        llm.get_model("gpt-4o").prompt("hi", schema=schema, json_object=True).text()
    assert server.requests[0].json["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": schema},
    }
