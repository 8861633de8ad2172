from openai import OpenAI

client = OpenAI()
messages = [{"role": "user", "content": "knock knock"}]
for line in ("Orange.", "Orange you glad?"):
    response = client.chat.completions.create(model="gpt-4o", messages=messages)
    messages.append(response.choices[0].message)
    messages.append({"role": "user", "content": line})
response = client.chat.completions.create(model="gpt-4o", messages=tuple(messages))
print(response.choices[0].message.content, len(messages))
#> Hello 5
