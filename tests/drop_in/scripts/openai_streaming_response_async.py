import asyncio

from openai import AsyncOpenAI

client = AsyncOpenAI()


async def main():
    async with client.chat.completions.with_streaming_response.create(
        messages=[{"role": "user", "content": "hi"}], model="gpt-4o", stream=True
    ) as response:
        print(response.headers["content-type"])
        async for line in response.iter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                print(line[:8])
                break
    async with client.chat.completions.with_streaming_response.create(
        messages=[{"role": "user", "content": "hi"}], model="gpt-4o", stream=True
    ) as response:
        async for chunk in await response.parse():
            print(chunk.choices[0].delta.content or "", end="")
    print()


asyncio.run(main())
#> text/event-stream
#> data: {"
#> Hello
