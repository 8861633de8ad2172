import asyncio

from openai import AsyncOpenAI

client = AsyncOpenAI(api_key="sk-test")


async def main() -> None:
    response = await client.chat.completions.create(
        messages=[{"role": "user", "content": "Say this is a test"}],
        model="gpt-4o",
    )
    print(response.choices[0].message.content)
    await client.close()


asyncio.run(main())
#> Hello
