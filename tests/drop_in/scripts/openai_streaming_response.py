import json

from openai import OpenAI

client = OpenAI()
with client.chat.completions.with_streaming_response.create(
    messages=[{"role": "user", "content": "Say this is a test"}],
    model="gpt-4o",
) as response:
    print(response.headers.get("X-RateLimit-Remaining-Requests"))
    for line in response.iter_lines():
        print(json.loads(line)["choices"][0]["message"]["content"])
#> 41
#> Hello
