from openai import OpenAI

client = OpenAI()
completion = client.chat.completions.create(
    model="gpt-4o",
    messages=[{"role": "user", "content": "hi"}],
    logprobs=True,
    top_logprobs=2,
)
for token in completion.choices[0].logprobs.content:
    print(token.token, token.logprob, [other.token for other in token.top_logprobs])
print(completion.usage.prompt_tokens_details.cached_tokens)
#> Hel -0.5 ['Hel', 'He']
#> 3
