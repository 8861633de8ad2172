import httpx
import openai
from openai import OpenAI

client = OpenAI(timeout=httpx.Timeout(60.0, read=0.3, write=10.0, connect=2.0), max_retries=0)
try:
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
except openai.APITimeoutError:
    print("Request timed out.")
#> Request timed out.
