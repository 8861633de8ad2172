import openai
from openai import NOT_GIVEN, omit


def ask(question, tools=None, temperature=None, stop=omit):
    client = openai.OpenAI(timeout=NOT_GIVEN)
    return client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": question}],
        tools=tools or NOT_GIVEN,
        temperature=NOT_GIVEN if temperature is None else temperature,
        stop=stop,
        extra_headers=NOT_GIVEN,
        timeout=NOT_GIVEN,
    )


print(ask("hi").choices[0].message.content)
#> Hello
