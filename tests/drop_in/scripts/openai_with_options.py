from openai import OpenAI

client = OpenAI(timeout=20.0)
answer = client.with_options(timeout=5 * 1000, max_retries=5).chat.completions.create(
    messages=[{"role": "user", "content": "How can I get the name of the current day?"}],
    model="gpt-4o",
)
print(answer.choices[0].message.content, answer._request_id, client.timeout)
#> Hello req_1 20.0
