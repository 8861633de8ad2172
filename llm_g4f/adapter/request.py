"""Turn llm's prompts into chat requests."""

from __future__ import annotations

import llm

from ..config.keys import named_key
from ..config.settings import provider_names
from ..request import ChatRequest, schema_format
from ..types import JSON
from .messages import METADATA, openai_messages
from .options import Options


def prompt_to_request(
    model: str, prompt: llm.Prompt, metadata: JSON, stream: bool, key: str | None
) -> ChatRequest:
    """The chat request of a prompt. `metadata` is the `previous_metadata` of its conversation, since
    llm drops options between turns: a pinned provider must stay pinned, and a schema holds behind a
    round of tools. Raises `G4FError`."""
    options = prompt.options
    assert isinstance(options, Options)
    routing = options.routing()
    routing.setdefault("exact", bool(metadata.get("only_exact")))
    params = options.parameters()
    # llm's chain drops the schema behind the results of tools, and its last answer is what was asked for.
    schema = prompt.schema or (metadata.get("schema") if prompt.tool_results else None)
    if schema:
        params["response_format"] = schema_format(schema)
    if prompt.tools:
        params["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description or None,
                    "parameters": tool.input_schema,
                },
            }
            for tool in prompt.tools
        ]
    messages = openai_messages(prompt.messages, options.image_detail)
    if not messages and prompt.tools:
        # A tool may be all that is asked for; servers take no request without messages.
        messages = [{"role": "user", "content": ""}]
    return ChatRequest(
        model=model,
        messages=messages,
        params=params,
        stream=stream,
        providers=provider_names(routing.pop("provider", metadata.get("pin"))),
        key=named_key(key) if key else None,
        **routing,
    )


def previous_metadata(prompt: llm.Prompt) -> JSON:
    """The metadata of the conversation's last answer, from its provider_metadata; {} for the first
    turn."""
    for message in reversed(prompt.messages):
        for part in reversed(message.parts):
            metadata = (getattr(part, "provider_metadata", None) or {}).get(METADATA)
            if isinstance(metadata, dict) and "provider" in metadata:
                return metadata
    return {}
