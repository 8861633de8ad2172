import json
import os

import openai

client = openai.OpenAI(api_key=os.environ.get("OPENAI_API_KEY"))
response = client.chat.completions.create(
    model="gpt-4o",
    response_format={"type": "json_object"},
    messages=[{"role": "user", "content": "Three colours, as JSON"}],
    seed=7,
    temperature=0,
)
print(sorted(json.loads(response.choices[0].message.content)["colours"]))
print(json.loads(response.model_dump_json())["choices"][0]["finish_reason"])
#> ['blue', 'green', 'red']
#> stop
