import asyncio

from g4f.client import AsyncClient


class OpenRouter:
    """As `from g4f.Provider import OpenRouter` has it."""


async def main():
    client = AsyncClient(provider=OpenRouter, api_key="sk-or-test")
    try:
        response = await client.chat.completions.create("hi", "gpt-4o", timeout=5)
        print(response.provider)
    except Exception as error:
        print(f"Error: {type(error).__name__}")


asyncio.run(main())
#> openrouter
