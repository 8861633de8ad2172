from openai import AuthenticationError, OpenAI, OpenAIError

client = OpenAI(api_key="sk-test-0123456789abcdef")
try:
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
except AuthenticationError as error:
    print(isinstance(error, OpenAIError), error.status_code, error.response.status_code)
    print(error.request_id, error.param)
#> True 401 401
#> req_7 None
