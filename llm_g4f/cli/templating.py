"""What a row becomes before it is asked: cells typed, templates filled in, models by their names."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import string
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from ..adapter.options import Options
from ..batch.rows import ROUTING, ROW_PARAMETERS, TEXTS, invalid_row
from ..errors import clean
from ..request import schema_format
from ..settings import Settings
from ..types import JSON

if TYPE_CHECKING:
    from llm.templates import Template

_OWN = frozenset({"id", "prompt", "messages", "system", "model"})

_UNFIT = (
    *("attachments", "attachment_types", "extract", "extract_last"),
    *("fragments", "system_fragments", "tools", "functions"),
)
"""What a template may bring that a row has no place for."""


@cache
def model_name(name: str) -> str:
    """The model that `name` asks for. Raises a click error if it is nobody's, or another plugin's."""
    import llm

    from ..adapter.models import G4F

    try:
        model = llm.get_model(name)
    except llm.UnknownModelError as error:
        raise click.ClickException(str(error.args[0])) from None
    if not isinstance(model, G4F):
        raise click.ClickException(
            f"{name} is another plugin's model. It can stand in for one of this plugin's:"
            f" -m gpt-4o -o provider llm:{model.model_id}"
        )
    return model.requested


def load_templates(names: Sequence[str]) -> list[Template]:
    """Llm's templates. Raises a click error."""
    if not names:
        return []
    from llm.cli import LoadTemplateError, load_template

    loaded = []
    for name in names:
        try:
            template = load_template(name)
        except LoadTemplateError as error:
            raise click.ClickException(str(error)) from None
        if brings := [field for field in _UNFIT if getattr(template, field)]:
            raise click.ClickException(
                f"The template {name} has {', '.join(brings)}, which a batch has no place for."
            )
        for text in filter(None, (template.prompt, template.system)):
            if not string.Template(text).is_valid():
                raise click.ClickException(
                    f"The template {name} has a $ that begins no variable: write $$ for it."
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
    """What holds for every row: model, key, parameters. Raises a click error, and `G4FError` for a key."""
    import llm
    from llm.cli import _merge_template_options, get_model_options, render_errors
    from pydantic import ValidationError

    from ..config.keys import named_key

    for template in templates:
        options = _merge_template_options(template, options)
        model = model or template.model
    model = model or llm.get_default_model()
    requested = model_name(model)
    given = get_model_options(llm.get_model(model).model_id) | dict(options)
    try:
        chosen = Options(**given)
    except ValidationError as error:
        raise click.ClickException(render_errors(error.errors())) from None
    found: JSON = {"model": requested, **chosen.parameters()}
    for name in ROUTING:
        if (value := getattr(chosen, name, None)) is not None:
            found[name] = value
    if (form := _schema(schema, templates)) is not None:
        found["response_format"] = schema_format(form)
    if key:
        found["api_key"] = named_key(key)
    # What contradicts itself is said before any file is touched.
    Settings(found.get("provider"), found.get("api_key"), None, None, None, None)
    return found


def _schema(given: str | None, templates: Sequence[Template]) -> JSON | None:
    from llm.cli import load_template, logs_db_path
    from llm.migrations import migrate
    from llm.utils import resolve_schema_input
    from sqlite_utils import Database

    schema: JSON | None = None
    if given:
        path = logs_db_path()
        try:
            # An id of a schema is looked up there.
            with contextlib.closing(
                Database(path) if path.exists() else Database(memory=True)
            ) as known:
                migrate(known)
                schema = resolve_schema_input(known, given, load_template)
        except sqlite3.Error as error:
            raise click.ClickException(
                f"{path} cannot be read, which is where llm keeps its schemas: {error}."
            ) from None
    for template in templates:
        schema = template.schema_object or schema
    return schema


class Preparation:
    """Calling it with a row gives what is asked. `table`: its values are cells, all of them text.

    Raises `BadRequestError` for a row that cannot be asked, and a click error for columns that no
    row of the file can be asked with.
    """

    def __init__(self, templates: Sequence[Template], system: str | None, *, table: bool) -> None:
        self._templates = templates
        self._system = system
        self._table = table
        self._variables = frozenset().union(*(template.vars() for template in templates))

    def __call__(self, row: JSON) -> JSON:
        variables = {name: value for name, value in row.items() if self._is_variable(name)}
        asked = {name: value for name, value in row.items() if name not in variables}
        if self._table:
            self._check_columns(row)
            asked = {name: _typed(name, cell) for name, cell in asked.items() if cell is not None}
        if isinstance(name := asked.get("model"), str):
            try:
                asked["model"] = model_name(name)
            except click.ClickException as error:
                raise invalid_row(error.message) from None
        return self._filled(asked, variables) if self._templates else asked

    def _is_variable(self, name: str) -> bool:
        if not self._templates or name in _OWN:
            return False
        return name in self._variables or name not in ROW_PARAMETERS

    def _check_columns(self, row: JSON) -> None:
        if self._templates:
            return
        if not row.keys() & {"prompt", "messages"}:
            raise click.ClickException(
                f"There is no column prompt or messages, but {', '.join(row)}. The first line has to"
                " name the columns; -t makes a prompt of others."
            )
        if unknown := [name for name in row if name not in ROW_PARAMETERS | _OWN]:
            raise click.ClickException(
                f"Nobody knows what the column {unknown[0]} is for: it is no parameter of chat"
                " completions, and there is no template (-t) whose variable it could be. Leave it out."
            )

    def _filled(self, asked: JSON, variables: JSON) -> JSON:
        from llm.cli import _apply_template

        if "messages" in asked:
            raise invalid_row("a template needs prompt, and it has messages")
        prompt, system = asked.get("prompt"), asked.get("system") or self._system
        if prompt is None and "input" in self._variables:
            raise invalid_row("the template needs prompt ($input)")
        own = {name: asked[name] for name in self._variables & _OWN if name in asked}
        filled = {name: "" if value is None else value for name, value in (variables | own).items()}
        for template in self._templates:
            try:
                prompt, system = _apply_template(template, prompt, dict(filled), system)
            except click.ClickException as error:
                raise invalid_row(error.message) from None
        return asked | {"prompt": prompt, "system": system}


def _typed(name: str, cell: str) -> Any:
    """What a cell says: JSON, but for what is text."""
    if name in TEXTS or name in _OWN - {"messages"}:
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        raise invalid_row(f"{name} cannot be {clean(cell, 40)!r}") from None
    return bool(value) if name == "exact" and value in (0, 1) else value
