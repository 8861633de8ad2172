import asyncio

from openai import AsyncOpenAI, InternalServerError

client = AsyncOpenAI(max_retries=0)


async def main():
    try:
        await client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "hi"}]
        )
    except InternalServerError as error:
        print("failed with", error.status_code)


asyncio.run(main())
#> failed with 500
