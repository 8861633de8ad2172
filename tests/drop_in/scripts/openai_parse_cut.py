import openai
from openai import OpenAI
from pydantic import BaseModel


class Answer(BaseModel):
    text: str


client = OpenAI()
try:
    client.chat.completions.parse(
        model="gpt-4o",
        messages=[{"role": "user", "content": "hi"}],
        response_format=Answer,
        max_tokens=3,
    )
except openai.LengthFinishReasonError as error:
    print("Too many tokens:", error.completion.usage.completion_tokens)
#> Too many tokens: 2
