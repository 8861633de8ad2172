import asyncio
import threading

from openai import AsyncOpenAI

client = AsyncOpenAI()
loop = asyncio.new_event_loop()
thread = threading.Thread(target=loop.run_forever, daemon=True)
thread.start()
future = asyncio.run_coroutine_threadsafe(
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}]),
    loop,
)
print(future.result(timeout=30).choices[0].message.content)
asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(timeout=30)
loop.call_soon_threadsafe(loop.stop)
thread.join()
loop.close()
#> Hello
