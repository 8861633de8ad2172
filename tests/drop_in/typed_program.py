"""A program with types, as a user writes it: mypy checks it strictly with everything else here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pydantic import BaseModel

from llm_g4f.openai import (
    NOT_GIVEN,
    APIStatusError,
    AsyncOpenAI,
    LengthFinishReasonError,
    OpenAI,
    OpenAIError,
    Timeout,
    pydantic_function_tool,
)
from llm_g4f.types import ChatCompletion, ChatCompletionMessage, Usage


class City(BaseModel):
    name: str
    inhabitants: int


Message = ChatCompletionMessage | dict[str, str]


def whole(client: OpenAI) -> str:
    messages: list[Message] = [{"role": "user", "content": "hi"}]
    completion: ChatCompletion = client.chat.completions.create(
        model="gpt-4o", messages=messages, temperature=0, stop=NOT_GIVEN
    )
    message = completion.choices[0].message
    messages.append(message)
    for call in message.tool_calls or []:
        print(call.function.name, call.function.arguments)
    usage: Usage | None = completion.usage
    return f"{message.content} {usage.total_tokens if usage else 0}"


def streamed(client: OpenAI) -> str:
    text = ""
    with client.chat.completions.create(model="gpt-4o", messages="hi", stream=True) as stream:
        for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    final: ChatCompletion = stream.get_final_completion()
    return text if final.choices[0].message.content == text else "?"


async def pieces(client: AsyncOpenAI) -> AsyncIterator[str]:
    async for chunk in client.chat.completions.create("hi", stream=True):
        yield chunk.choices[0].delta.content or ""
    stream = await client.chat.completions.create("hi", model="gpt-4o", stream=True)
    async for chunk in stream:
        yield chunk.choices[0].delta.content or ""
    await stream.close()


async def city(client: AsyncOpenAI) -> City | None:
    completion = await client.chat.completions.parse(
        model="gpt-4o", messages=[{"role": "user", "content": "A city"}], response_format=City
    )
    parsed: City | None = completion.choices[0].message.parsed
    return parsed


def located(client: OpenAI) -> object:
    completion = client.chat.completions.parse(
        model="gpt-4o", messages="Where?", tools=[pydantic_function_tool(City)]
    )
    for call in completion.choices[0].message.tool_calls or []:
        return call.function.parsed_arguments
    raw = client.chat.completions.with_raw_response.parse(messages="A city", response_format=City)
    city: City | None = raw.parse().choices[0].message.parsed
    return city


async def answers(client: AsyncOpenAI) -> list[str | None]:
    task = asyncio.create_task(client.chat.completions.create("hi"))
    async with asyncio.TaskGroup() as group:
        other = group.create_task(client.chat.completions.create("hi"))
    both = await asyncio.gather(task, other)
    return [completion.choices[0].message.content for completion in both]


def failed(client: OpenAI) -> str:
    try:
        client.with_options(max_retries=0, timeout=Timeout(5, read=2)).chat.completions.create("hi")
    except APIStatusError as error:
        return f"{error.status_code} {error.code} {error.response and error.response.headers}"
    except LengthFinishReasonError as error:
        return error.completion.model
    except OpenAIError as error:
        return error.message
    return "no error"


async def listed(client: AsyncOpenAI) -> list[str]:
    return [model.id async for model in client.models.list()]
