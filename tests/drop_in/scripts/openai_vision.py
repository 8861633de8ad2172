import base64

from openai import OpenAI

client = OpenAI()
image = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
response = client.chat.completions.create(
    model="gpt-4o-mini",
    messages=[
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What's in this image?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
            ],
        }
    ],
    max_tokens=300,
)
print(response.choices[0].message.to_dict(exclude_none=True))
#> {'role': 'assistant', 'content': 'Hello'}
