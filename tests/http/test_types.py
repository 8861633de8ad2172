"""URLs in the pieces of a request."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_g4f.config.urls import check_base_url
from llm_g4f.http.types import parse_url


@pytest.mark.parametrize(
    ("url", "origin", "host", "port", "path"),
    [
        ("https://a.example/v1/x", "https://a.example", "a.example", 443, "/v1/x"),
        ("https://A.Example:443", "https://a.example", "a.example", 443, "/"),
        ("http://a.example:8080/?q=1", "http://a.example:8080", "a.example", 8080, "/?q=1"),
        ("http://[::1]:8080/v1", "http://[::1]:8080", "::1", 8080, "/v1"),
        ("https://[::1]/v1", "https://[::1]", "::1", 443, "/v1"),
        ("https://bücher.example/ä b", "https://xn--bcher-kva.example", None, 443, "/%C3%A4%20b"),
        ("https://a.example/a{b}%20c", "https://a.example", "a.example", 443, "/a%7Bb%7D%20c"),
    ],
)
def test_parts_of_a_url(url: str, origin: str, host: str | None, port: int, path: str) -> None:
    found = parse_url(url)
    assert (found.origin, found.port, found.path) == (origin, port, path)
    assert found.host == (host or "xn--bcher-kva.example")


@pytest.mark.parametrize(
    "url", ["", "a.example", "ftp://a.example", "https://", "http://a:b/", "https://xn--ü.example/"]
)
def test_an_invalid_url_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_url(url)


NAMES = st.text("abcäö-.09", min_size=1, max_size=12)
PATHS = st.text(st.characters(codec="utf-8", exclude_characters="?#"), max_size=20)


@given(st.sampled_from(["http", "https"]), NAMES, st.integers(1, 65535), PATHS)
@example("http", "a", 80, "a;b=c,d/%zz/[x]'")
@example("http", "a", 1, "/a/../b/./c")
def test_the_parts_equal_httpxs(scheme: str, host: str, port: int, path: str) -> None:
    """The parts of every base URL that g4f.yaml may have."""
    try:
        url = check_base_url(f"{scheme}://{host}:{port}/{path}", plain_http=True)
    except ValueError:
        return
    try:
        theirs = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        return
    found = parse_url(url)
    assert found.host == theirs.raw_host.decode()
    assert found.authority == theirs.netloc.decode()
    assert found.path == theirs.raw_path.decode()


def test_a_plain_url_does_not_import_httpx() -> None:
    code = (
        "import sys; from llm_g4f.http.types import parse_url;"
        "parse_url('https://api.openai.com/v1/chat/completions'); assert 'httpx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
