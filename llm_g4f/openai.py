"""OpenAI's names for what is here: `from openai import …` becomes `from llm_g4f.openai import …`.

The package openai is not imported. Its `AzureOpenAI`, `types` and the like are not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from .arguments import Absent
from .client import AsyncClient, AsyncStream, Client, Stream
from .errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ContentFilterFinishReasonError,
    G4FError,
    InternalServerError,
    InvalidResponseError,
    LengthFinishReasonError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from .parsing import function_tool as pydantic_function_tool
from .version import __version__

__all__ = [
    "NOT_GIVEN",
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncClient",
    "AsyncOpenAI",
    "AsyncStream",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "ConflictError",
    "ContentFilterFinishReasonError",
    "InternalServerError",
    "LengthFinishReasonError",
    "NotFoundError",
    "NotGiven",
    "Omit",
    "OpenAI",
    "OpenAIError",
    "PermissionDeniedError",
    "RateLimitError",
    "Stream",
    "Timeout",
    "UnprocessableEntityError",
    "__version__",
    "not_given",
    "omit",
    "pydantic_function_tool",
]

OpenAI = Client
AsyncOpenAI = AsyncClient
OpenAIError = G4FError
APIResponseValidationError = InvalidResponseError


class Timeout:
    """Seconds, as `httpx.Timeout` has them: `connect`, and `read` for the first content and from each
    to the next. `write` and `pool` are taken and have no effect."""

    def __init__(
        self,
        timeout: float | None = None,
        *,
        connect: float | None = None,
        read: float | None = None,
        write: float | None = None,
        pool: float | None = None,
    ) -> None:
        self.connect, self.read = connect or timeout, read or timeout
        self.write, self.pool = write or timeout, pool or timeout


class NotGiven(Absent):
    """The class of `NOT_GIVEN`."""


class Omit(Absent):
    """The class of `omit`."""


NOT_GIVEN: Final = NotGiven()
not_given: Final = NOT_GIVEN
omit: Final = Omit()


_OF_CLIENTS = frozenset(("beta", "chat", "models"))
"""What the package openai has for its client of the module."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        use = f"make a client: OpenAI().{name}" if name in _OF_CLIENTS else "use the package openai"
        raise AttributeError(f"llm_g4f.openai has no {name}: {use}.")
