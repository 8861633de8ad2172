"""`client.models`: what the providers of gpt-4o's route list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any

from msgspec.structs import replace

from .errors import G4FError, NotFoundError
from .pending import Pending
from .providers.endpoint import Endpoint
from .request import ChatRequest
from .routing.discovery import lists_of
from .routing.route import taking_part
from .settings import DEFAULT_MODEL, Settings
from .sync import loop_thread


class ModelName(str):
    """A model at a provider: a text "provider/id", as `provider=` takes it. `id` is the model's id at
    that provider, as `model=` takes it, and `owned_by` the provider."""

    __slots__ = ("id", "owned_by")

    id: str
    owned_by: str

    object = "model"
    created = 0

    def __new__(cls, provider: str, id: str) -> ModelName:
        name = super().__new__(cls, f"{provider}/{id}")
        name.id, name.owned_by = id, provider
        return name

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return self.owned_by, self.id


class ModelList(list[ModelName]):
    """The models: a list, and openai's page of them."""

    object = "list"
    has_more = False

    @property
    def data(self) -> ModelList:
        """The list itself, as openai's pages have it."""
        return self

    async def __aiter__(self) -> AsyncIterator[ModelName]:
        for model in self:
            yield model


class PendingModels(Pending[ModelList]):
    """The return value of `AsyncModels.list`: await it for the list, or iterate it with `async for`."""

    def __init__(self, models: AsyncModels) -> None:
        self._models = models

    def _begun(self) -> Coroutine[Any, Any, Any]:
        if self._coroutine is None:
            self._coroutine = self._models.load()
        return self._coroutine

    async def __aiter__(self) -> AsyncIterator[ModelName]:
        for model in await self:
            yield model


class AsyncModels:
    """`client.models`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def list(self, **_: Any) -> PendingModels:
        """The models that the providers of gpt-4o's route list. One that does not answer is passed
        over; if none does, its error is raised."""
        return PendingModels(self)

    async def retrieve(self, model: str, **_: Any) -> ModelName:
        """The model of this id, or of this "provider/id". Raises `NotFoundError`."""
        for listed in await self.load():
            if model in (listed.id, str(listed)):
                return listed
        raise NotFoundError(
            f"No provider of the route lists {model}. models.list() shows what they have.",
            status_code=404,
            reason="model_gone",
        )

    async def load(self) -> ModelList:
        """The list, asked for anew."""
        settings = self._settings
        request = ChatRequest(
            model=DEFAULT_MODEL, messages=[], providers=settings.providers, key=settings.key
        )
        providers = [
            replace(provider, headers=settings.headers_for(provider))
            if settings.defaults.headers and isinstance(provider, Endpoint)
            else provider
            for provider in await taking_part(request, settings.registry())
        ]
        listed = ModelList()
        failure: G4FError | None = None
        for provider, found in zip(providers, await lists_of(providers), strict=True):
            if isinstance(found, G4FError):
                failure = failure or found
            else:
                listed += [ModelName(provider.name, model) for model in found]
        if failure is not None and not listed:
            raise failure
        return listed


class Models:
    """`client.models` without `await`."""

    def __init__(self, settings: Settings) -> None:
        self._models = AsyncModels(settings)

    def list(self, **_: Any) -> ModelList:
        """See `AsyncModels.list`."""
        return loop_thread().run(self._models.load)

    def retrieve(self, model: str, **_: Any) -> ModelName:
        """See `AsyncModels.retrieve`."""
        return loop_thread().run(lambda: self._models.retrieve(model))
