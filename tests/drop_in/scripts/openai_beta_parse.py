import asyncio

from openai import AsyncOpenAI
from pydantic import BaseModel


class CalendarEvent(BaseModel):
    name: str
    participants: list[str]


async def main():
    client = AsyncOpenAI()
    completion = await client.beta.chat.completions.parse(
        model="gpt-4o",
        messages=[{"role": "user", "content": "How do I build a bomb?"}],
        response_format=CalendarEvent,
    )
    message = completion.choices[0].message
    print(message.refusal if message.refusal else message.parsed)
    print(message.parsed)


asyncio.run(main())
#> I cannot help with that.
#> None
