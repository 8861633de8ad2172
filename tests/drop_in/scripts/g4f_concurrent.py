import asyncio

from g4f.client import AsyncClient


async def main():
    client = AsyncClient()
    task1 = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Say this is a test"}]
    )
    task2 = client.chat.completions.create(model="gpt-4o-mini", messages="hi")
    try:
        chat, other = await asyncio.gather(task1, task2)
        print(chat.choices[0].message.content, other.choices[0].message.content)
    except Exception as e:
        print(f"An error occurred: {e}")


asyncio.run(main())
#> Hello Hello
