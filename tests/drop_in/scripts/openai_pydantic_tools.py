import openai
from openai import OpenAI
from pydantic import BaseModel


class GetWeather(BaseModel):
    """The weather in a city"""

    city: str


client = OpenAI()
messages = [{"role": "user", "content": "What is the weather in Paris?"}]
completion = client.chat.completions.parse(
    model="gpt-4o",
    messages=messages,
    tools=[openai.pydantic_function_tool(GetWeather, name="get_weather")],
)
message = completion.choices[0].message
messages.append(message)
for tool_call in message.tool_calls or []:
    print(tool_call.function.name, tool_call.function.parsed_arguments.city)
    messages.append({"role": "tool", "tool_call_id": tool_call.id, "content": "18 degrees"})
final = client.chat.completions.create(model="gpt-4o", messages=messages)
print(final.choices[0].message.content)
#> get_weather Paris
#> It is 18 degrees.
