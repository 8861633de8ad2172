"""Base URLs: valid ones, invalid ones, plain HTTP and secrets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_g4f.config.urls import check_base_url

CANARY = "sk-canary-4711"

GOOD_URLS = [
    ("https://example.com", "https://example.com"),
    ("https://example.com/v1/", "https://example.com/v1"),
    ("https://example.com:8443/a/b//", "https://example.com:8443/a/b"),
    ("HTTPS://EXAMPLE.com/v1", "HTTPS://EXAMPLE.com/v1"),
    ("https://[2001:db8::1]:8000/v1", "https://[2001:db8::1]:8000/v1"),
    ("http://localhost:11434/v1", "http://localhost:11434/v1"),
    ("http://LOCALHOST", "http://LOCALHOST"),
    ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ("http://127.9.9.9/v1", "http://127.9.9.9/v1"),
    ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
]

UNENCRYPTED = [
    "http://example.com/v1",
    "http://10.0.0.1/v1",
    "http://0.0.0.0:8000",
    "http://169.254.169.254/latest/meta-data",
    # Spellings of 127.0.0.1 and 169.254.169.254 that a resolver may read otherwise.
    "http://2130706433/v1",
    "http://2852039166/v1",
    "http://0x7f000001/v1",
    "http://0177.0.0.1/v1",
    "http://127.1/v1",
    "http://localhost.example.com/v1",
    "http://127.0.0.1.example.com/v1",
    "http://localhost%2eexample.com",
    "http://[fd00:ec2::254]/v1",
    "http://①②⑦.0.0.1/",
]

BAD_URLS = [
    ("", "must start with"),
    ("example.com/v1", "must start with"),
    ("//example.com", "must start with"),
    ("/etc/passwd", "must start with"),
    ("file:///etc/passwd", "must start with"),
    ("ftp://example.com", "must start with"),
    ("unix:///run/s.sock", "must start with"),
    ("javascript:alert(1)", "must start with"),
    ("https://", "name a host"),
    ("https:///v1", "name a host"),
    ("https://:8000/v1", "name a host"),
    ("https://example.com:99999", "is not a URL"),
    ("https://example.com:x", "is not a URL"),
    ("https://[::1", "is not a URL"),
    ("https://example.com/v1?", "must not contain"),
    ("https://example.com/v1?key=x", "must not contain"),
    ("https://example.com/v1#", "must not contain"),
    ("https://example.com/v1#x", "must not contain"),
    ("https://exam ple.com", "white space"),
    ("https://example.com/v 1", "white space"),
    ("https://example.com/\tv1", "white space"),
    ("https://example.com\r\n/v1", "white space"),
    ("https://example.com/\x1b[2J", "control character"),
    ("https://example.com/\u202e", "control character"),
]

USERINFO = [
    f"https://user:{CANARY}@example.com/v1",
    f"https://{CANARY}@example.com/v1",
    f"http://localhost:{CANARY}@example.com/v1",
    f"https://{CANARY}:@example.com",
    f"http://{CANARY}@127.0.0.1:8000",
    f"https://user:{CANARY}@example.com:99999/v1",
    f"https://user:{CANARY}@",
    f"ftp://user:{CANARY}@example.com",
    f"https://user:{CANARY}@[::1/v1",
    f"https://user:{CANARY}@example.com/v1?x",
]

KEYS_ELSEWHERE = [
    f"https://example.com/v1?api_key={CANARY}",
    f"https://example.com/v1#{CANARY}",
    f"https:/user:{CANARY}@example.com/v1",
    f"example.com:{CANARY}/v1",
    f"https://example.com:{CANARY}/v1",
    f"http://example.com/{CANARY}/v1",
    f"https://example.com/v 1/{CANARY}",
    f"{CANARY}",
    f"https://exam ple.com?{CANARY}\nx{CANARY}",
]


@pytest.mark.parametrize("url", KEYS_ELSEWHERE)
def test_a_key_in_any_part_of_a_url_is_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|must|unencrypted|white space") as caught:
        check_base_url(url)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(("url", "expected"), GOOD_URLS)
def test_a_valid_base_url_loses_its_trailing_slash(url: str, expected: str) -> None:
    assert check_base_url(url) == expected
    assert check_base_url(url, plain_http=True) == expected


@pytest.mark.parametrize("url", UNENCRYPTED)
def test_http_to_another_host_needs_plain_http(url: str) -> None:
    with pytest.raises(ValueError, match="unencrypted"):
        check_base_url(url)
    assert check_base_url(url, plain_http=True) == url.rstrip("/")


@pytest.mark.parametrize("plain_http", [False, True])
@pytest.mark.parametrize(("url", "words"), BAD_URLS)
def test_an_invalid_base_url_is_an_error(url: str, words: str, plain_http: bool) -> None:
    with pytest.raises(ValueError, match=words):
        check_base_url(url, plain_http=plain_http)


@pytest.mark.parametrize("url", USERINFO)
def test_a_url_with_a_secret_is_an_error_that_does_not_show_it(url: str) -> None:
    with pytest.raises(ValueError, match="must not contain a user name or a key") as caught:
        check_base_url(url, plain_http=True)
    assert CANARY not in str(caught.value)


@settings(deadline=None)
@given(st.text() | st.from_regex(r"https?://[a-z@:/?#\[\]\\%.0-9]*", fullmatch=True))
def test_any_url_is_valid_or_a_value_error(url: str) -> None:
    try:
        good = check_base_url(url)
    except ValueError:
        return
    assert good.lower().startswith(("http://", "https://"))
    assert not good.endswith("/")
