import openai
from openai import OpenAI

client = OpenAI(max_retries=0)

try:
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
except openai.APIConnectionError as e:
    print("The server could not be reached", e.__cause__)
except openai.RateLimitError as e:
    print("A 429 status code was received; we should back off a bit.")
    print(e.status_code, e.code, e.type, e.body["message"], e.response.headers["Retry-After"])
except openai.APIStatusError as e:
    print("Another non-200-range status code was received", e.status_code, e.response)
#> A 429 status code was received; we should back off a bit.
#> 429 rate_limit_exceeded requests Slow down. 1
