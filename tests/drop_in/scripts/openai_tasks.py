import asyncio

from openai import AsyncOpenAI

client = AsyncOpenAI()
ask = client.chat.completions.create
hi = [{"role": "user", "content": "hi"}]


async def main():
    task = asyncio.create_task(ask(model="gpt-4o", messages=hi))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(model="gpt-4o", messages=hi)) for _ in range(2)]
    answers = [await task, *(task.result() for task in tasks)]
    answers.append(await asyncio.wait_for(ask(model="gpt-4o", messages=hi), timeout=30))
    for answer in asyncio.as_completed([ask(model="gpt-4o", messages=hi)]):
        answers.append(await answer)
    print(len(answers), {answer.choices[0].message.content for answer in answers})


asyncio.run(main())
print(asyncio.run(ask(model="gpt-4o", messages=hi)).choices[0].message.content)
#> 5 {'Hello'}
#> Hello
