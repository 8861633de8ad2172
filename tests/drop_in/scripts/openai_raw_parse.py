import asyncio
from typing import List

from openai import AsyncOpenAI
from pydantic import BaseModel


class Step(BaseModel):
    explanation: str
    output: str


class MathResponse(BaseModel):
    steps: List[Step]
    final_answer: str


async def main() -> None:
    client = AsyncOpenAI()
    response = await client.chat.completions.with_raw_response.parse(
        model="gpt-4o",
        messages=[{"role": "user", "content": "solve 8x + 31 = 2"}],
        response_format=MathResponse,
    )
    print(response.headers.get("Content-Type"), response.status_code)
    print(response.parse().choices[0].message.parsed.final_answer)


asyncio.run(main())
#> application/json 200
#> x = -3.625
