import asyncio

from openai import AsyncOpenAI

client = AsyncOpenAI()


async def ask(question: str) -> str:
    response = await client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": question}]
    )
    return response.choices[0].message.content


async def main():
    semaphore = asyncio.Semaphore(2)

    async def limited(question):
        async with semaphore:
            return await ask(question)

    print(await asyncio.gather(*(limited(str(number)) for number in range(4))))


asyncio.run(main())
#> ['Hello', 'Hello', 'Hello', 'Hello']
