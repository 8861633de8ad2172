from openai import OpenAI

client = OpenAI(
    organization="org-1",
    default_headers={"X-Title": "My app"},
    default_query={"trace": "1"},
)
completion = client.chat.completions.create(
    model="gpt-4o",
    messages=[{"role": "user", "content": "hi"}],
    extra_headers={"HTTP-Referer": "https://example.org", "X-Title": "Other"},
    extra_query={"route": "fast"},
    extra_body={"top_k": 5},
    user="me",
)
print(completion.choices[0].message.content)
#> Hello
