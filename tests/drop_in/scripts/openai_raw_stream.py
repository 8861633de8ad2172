import asyncio

from openai import AsyncOpenAI

client = AsyncOpenAI()


async def main():
    raw = await client.chat.completions.with_raw_response.create(
        messages=[{"role": "user", "content": "hi"}], model="gpt-4o", stream=True
    )
    print(raw.headers["content-type"])
    async for chunk in raw.parse():
        print(chunk.choices[0].delta.content or "", end="")
    print()


asyncio.run(main())
#> text/event-stream
#> Hello
