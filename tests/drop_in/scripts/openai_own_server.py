import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["MY_SERVER"], api_key="not-needed")
model = client.models.list().data[0].id
print([model.id for model in client.models.list()])
response = client.chat.completions.create(
    model=model, messages=[{"role": "user", "content": "hi"}]
)
print(model, response.model, client.models.retrieve(model).owned_by)
#> ['llama-3.3-70b', 'qwen3:8b']
#> llama-3.3-70b llama-3.3-70b custom
