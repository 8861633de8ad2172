import json

from openai import OpenAI

client = OpenAI()
tools = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
messages = [{"role": "user", "content": "What is the weather in Paris?"}]
response = client.chat.completions.create(model="gpt-4o", messages=messages, tools=tools)
message = response.choices[0].message
messages.append(message)
for tool_call in message.tool_calls or []:
    arguments = json.loads(tool_call.function.arguments)
    print(tool_call.function.name, arguments["city"])
    messages.append({"role": "tool", "tool_call_id": tool_call.id, "content": "18 degrees"})
final = client.chat.completions.create(model="gpt-4o", messages=messages, tools=tools)
print(final.choices[0].message.content)
#> get_weather Paris
#> It is 18 degrees.
