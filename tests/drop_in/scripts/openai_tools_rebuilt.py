import asyncio

from openai import AsyncOpenAI


async def main():
    client = AsyncOpenAI()
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = (await client.chat.completions.create(model="gpt-4o", messages=messages)).choices[0]
    messages.append(
        {
            "role": "assistant",
            "content": answer.message.content,
            "tool_calls": answer.message.tool_calls,
        }
    )
    call = answer.message.tool_calls[0].model_dump()
    messages.append({"role": "tool", "tool_call_id": call["id"], "content": "18 degrees"})
    final = await client.chat.completions.create(model="gpt-4o", messages=messages)
    print(final.choices[0].message.content)


asyncio.run(main())
#> It is 18 degrees.
