"""Prepare rows for requests: parse cells, fill in templates, resolve model names."""

from __future__ import annotations

import contextlib
import json
import string
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from ..adapter.options import Options
from ..batch.rows import ROW_PARAMETERS, TEXTS, invalid_row
from ..providers.model_ids import MODELS, OPEN_MODELS, names_of
from ..request import ROUTING_OPTIONS, schema_format
from ..safe_text import clean
from ..settings import Settings
from ..types import JSON
from .errors import DATABASE_ERRORS, words_of

if TYPE_CHECKING:
    from llm.templates import Template

_ROW_FIELDS = frozenset({"id", "prompt", "messages", "system", "model"})
"""Fields of a row that are not parameters of chat completions."""

_UNSUPPORTED = (
    *("attachments", "attachment_types", "extract", "extract_last"),
    *("fragments", "system_fragments", "tools", "functions"),
)
"""Fields of an llm template that a batch does not support."""


@cache
def model_name(name: str) -> str:
    """The requested model behind an id or alias. A snapshot, and a name for which g4f.yaml has a route,
    stay as they are.

    Raises a click error if it is unknown or another plugin's, and `ConfigError`.
    """
    import llm

    from .. import config
    from ..adapter.models import G4F

    try:
        model = llm.get_model(name)
    except llm.UnknownModelError as error:
        names = names_of(name)
        if names[-1] in (*MODELS, *OPEN_MODELS) or config.load().route_key(names):
            return name
        raise click.ClickException(str(error.args[0])) from None
    if not isinstance(model, G4F):
        raise click.ClickException(
            f"{name} is another plugin's model. It can stand in for one of this plugin's:"
            f" -m gpt-4o -o provider llm:{model.model_id}"
        )
    return model.requested


def _default_model() -> tuple[str | None, str]:
    """The requested model behind llm's default, or None and why there is none."""
    import llm

    default = llm.get_default_model()
    try:
        return model_name(default), ""
    except click.ClickException:
        return None, (
            f"llm's default model {default} is another plugin's, and a row names no model: -m gpt-4o."
        )


def load_templates(names: Sequence[str]) -> list[Template]:
    """Load llm's templates `names`. Raises a click error if one is missing or unsupported."""
    if not names:
        return []
    from llm.cli import LoadTemplateError, load_template

    loaded = []
    for name in names:
        try:
            template = load_template(name)
        except LoadTemplateError as error:
            raise click.ClickException(str(error)) from None
        if unsupported := [field for field in _UNSUPPORTED if getattr(template, field)]:
            raise click.ClickException(
                f"The template {name} has {', '.join(unsupported)}: unsupported in a batch."
            )
        for text in filter(None, (template.prompt, template.system)):
            if not string.Template(text).is_valid():
                raise click.ClickException(
                    f"The template {name} has a $ without a variable name: write $$ for a plain $."
                )
        loaded.append(template)
    return loaded


def defaults(
    model: str | None,
    options: Sequence[tuple[str, Any]],
    schema: str | None,
    key: str | None,
    templates: Sequence[Template],
) -> JSON:
    """Defaults for every row: model, key, parameters. No model if llm's default is another plugin's:
    then each row has to name one.

    Raises a click error, and `G4FError` for an invalid key.
    """
    import llm
    from llm.cli import _merge_template_options, get_model_options, render_errors
    from pydantic import ValidationError

    from ..config.keys import named_key

    for template in templates:
        options = _merge_template_options(template, options)
        model = model or template.model
    requested = model_name(model) if model else _default_model()[0]
    model = model or llm.get_default_model()
    known = llm.get_model_aliases().get(model)
    defaults = get_model_options(known.model_id if known else model) if requested else {}
    chosen = defaults | dict(options)
    try:
        parsed = Options(**chosen)
    except ValidationError as error:
        raise click.ClickException(render_errors(error.errors())) from None
    values: JSON = {**({"model": requested} if requested else {}), **parsed.parameters()}
    for name in ROUTING_OPTIONS:
        if (value := getattr(parsed, name, None)) is not None:
            values[name] = value
    if (resolved_schema := _schema(schema, templates)) is not None:
        values["response_format"] = schema_format(resolved_schema)
    if key:
        values["api_key"] = named_key(key)
    # Raises for contradictions before any file is touched.
    Settings(values.get("provider"), values.get("api_key"), None, None, None, None)
    return values


def _schema(given: str | None, templates: Sequence[Template]) -> JSON | None:
    from llm.cli import load_template, logs_db_path
    from llm.utils import resolve_schema_input

    from ..adapter.log_writer import open_log

    schema: JSON | None = None
    if given:
        path = logs_db_path()
        try:
            # llm looks up a schema id in its logs.
            with contextlib.closing(open_log(path if path.exists() else None)) as database:
                schema = resolve_schema_input(database, given, load_template)
        except DATABASE_ERRORS as error:
            raise click.ClickException(
                f"llm's schemas in {path} cannot be read: {words_of(error)}."
            ) from None
    for template in templates:
        schema = template.schema_object or schema
    return schema


class RowPreparer:
    """Turn a row of the input into a row for the engine. `table`: its values are text cells.
    `has_default`: a row without a model has one nevertheless.

    Calling it raises `BadRequestError` for an invalid row, and a click error for columns that make
    every row of the file invalid.
    """

    def __init__(
        self,
        templates: Sequence[Template],
        system: str | None,
        *,
        table: bool,
        has_default: bool = True,
    ) -> None:
        self._templates = templates
        self._system = system
        self._table = table
        self._has_default = has_default
        self._variables = frozenset().union(*(template.vars() for template in templates))

    def __call__(self, row: JSON) -> JSON:
        variables = {name: value for name, value in row.items() if self._is_variable(name)}
        fields = {name: value for name, value in row.items() if name not in variables}
        if self._table:
            self._check_columns(row)
            fields = {name: _parse(name, cell) for name, cell in fields.items() if cell is not None}
        if isinstance(name := fields.get("model"), str):
            try:
                fields["model"] = model_name(name)
            except click.ClickException as error:
                raise invalid_row(error.message) from None
        elif not self._has_default and fields.get("model") is None:
            raise click.ClickException(_default_model()[1])
        return self._fill_templates(fields, variables) if self._templates else fields

    def _is_variable(self, name: str) -> bool:
        if not self._templates or name in _ROW_FIELDS:
            return False
        return name in self._variables or name not in ROW_PARAMETERS

    def _check_columns(self, row: JSON) -> None:
        if self._templates:
            return
        if not row.keys() & {"prompt", "messages"}:
            raise click.ClickException(
                f"Missing column prompt or messages: the first line names {clean(', '.join(row))}."
                " To build prompts from other columns, use a template (-t)."
            )
        if unknown := [name for name in row if name not in ROW_PARAMETERS | _ROW_FIELDS]:
            raise click.ClickException(
                f"Unknown column {clean(unknown[0], 80)}: it is not a parameter of chat completions."
                " Remove it, or use it in a template (-t)."
            )

    def _fill_templates(self, fields: JSON, variables: JSON) -> JSON:
        from llm.cli import _apply_template

        if "messages" in fields:
            raise invalid_row("a template needs prompt, not messages")
        prompt, system = fields.get("prompt"), fields.get("system") or self._system
        if prompt is None and "input" in self._variables:
            raise invalid_row("the template needs prompt ($input)")
        own = {name: fields[name] for name in self._variables & _ROW_FIELDS if name in fields}
        values = {name: "" if value is None else value for name, value in (variables | own).items()}
        for template in self._templates:
            try:
                prompt, system = _apply_template(template, prompt, dict(values), system)
            except click.ClickException as error:
                raise invalid_row(error.message) from None
        return fields | {"prompt": prompt, "system": system}


def _parse(name: str, cell: str) -> Any:
    """The value of a cell: JSON, except in columns of text."""
    if name in TEXTS or name in _ROW_FIELDS - {"messages"}:
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        raise invalid_row(f"{name} cannot be {clean(cell, 40)!r}") from None
    return bool(value) if name in ("exact", "cache") and value in (0, 1) else value
