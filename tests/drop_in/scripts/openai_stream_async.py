import asyncio

from openai import AsyncOpenAI


async def main():
    client = AsyncOpenAI()
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Say hello"}], stream=True
    )
    parts = []
    async for chunk in stream:
        if (text := chunk.choices[0].delta.content) is not None:
            parts.append(text)
        if chunk.choices[0].finish_reason:
            print("finished:", chunk.choices[0].finish_reason)
    print("".join(parts))


asyncio.run(main())
#> finished: stop
#> Hello
