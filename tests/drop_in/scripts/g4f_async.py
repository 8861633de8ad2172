import asyncio

from g4f.client import AsyncClient


async def main():
    client = AsyncClient()
    response = await client.chat.completions.create(
        model="gpt-4o",
        messages=[
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "how does a court case get to the Supreme Court?"},
        ],
    )
    print(response.choices[0].message.content)


asyncio.run(main())
#> Hello
