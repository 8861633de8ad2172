from g4f.client import Client

client = Client()
text = ""
for chunk in client.chat.completions.stream(
    model="gpt-4o", messages=[{"role": "user", "content": "hi"}]
):
    text += chunk.choices[0].delta.content or ""
print(text)
#> Hello
