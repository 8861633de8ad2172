from openai import OpenAI

client = OpenAI()
response = client.chat.completions.with_raw_response.create(
    messages=[{"role": "user", "content": "Say this is a test"}],
    model="gpt-4o",
)
print(response.headers.get("X-RateLimit-Remaining-Requests"), response.request_id)
completion = response.parse()
print(completion.choices[0].message.content)
#> 41 req_1
#> Hello
