"""The methods that openai's types have for their JSON form, for ours."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Self

from msgspec.structs import replace

JSON = dict[str, Any]


class JSONShape:
    """What a struct with a JSON form has. Subclasses give the form in `_data`.

    The options are those of openai's (pydantic's) methods. What a provider did not send is left out
    in any case, so `exclude_unset` adds nothing; `exclude_defaults` is `exclude_none`.
    """

    __slots__ = ()

    def _data(self) -> dict[str, Any]:
        raise NotImplementedError

    def model_dump(
        self,
        *,
        include: Collection[str] | None = None,
        exclude: Collection[str] | None = None,
        exclude_none: bool = False,
        exclude_defaults: bool = False,
        **_: Any,
    ) -> dict[str, Any]:
        """The JSON form as dicts and lists. `include` and `exclude` are names of its own fields."""
        data = self._data()
        if include is not None or exclude:
            data = {
                name: value
                for name, value in data.items()
                if (include is None or name in include) and name not in (exclude or ())
            }
        return without_none(data) if exclude_none or exclude_defaults else data

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """The fields of the JSON form with their names, for `dict(…)`."""
        yield from self._data().items()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some attributes replaced."""
        made: Any = copy.deepcopy(self) if deep else copy.copy(self)
        return replace(made, **update) if update else made  # type: ignore[no-any-return]

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """`model_dump` under its other name."""
        return self.model_dump(**options) if options else self._data()

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """The JSON form as text."""
        return json.dumps(self.model_dump(**options), indent=indent, ensure_ascii=False)

    dict, json = model_dump, model_dump_json  # as pydantic called them at first

    def to_json(self, *, indent: int | None = 2, **options: Any) -> str:
        """The JSON form as text for people."""
        return self.model_dump_json(indent=indent, **options)


def without_none(value: Any) -> Any:
    """`value` without the fields of its objects that are None."""
    if isinstance(value, dict):
        return {name: without_none(item) for name, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list) else value


class Fields(dict[str, Any]):
    """A JSON object whose fields are attributes too, as those of openai's types are."""

    def __getattr__(self, name: str) -> Any:
        try:
            return fields(self[name])
        except KeyError:
            raise AttributeError(f"no field {name}") from None


def fields(value: Any) -> Any:
    """JSON with `Fields` for its objects."""
    if isinstance(value, dict):
        return value if isinstance(value, Fields) else Fields(value)
    return [fields(item) for item in value] if isinstance(value, list) else value
