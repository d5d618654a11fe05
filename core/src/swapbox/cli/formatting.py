"""What lists print: Docker's tables, ``--format``, ``--quiet`` and the formats of ``~/.docker/config.json``.

A list is described once, by its fields; everything else follows::

    VOLUMES = Listing(
        name="volumeContext",
        fields={
            "Driver": Field("DRIVER", lambda volume, view: volume.driver),
            "Name": Field("VOLUME NAME", lambda volume, view: volume.name),
        },
        table=("Driver", "Name"),
        quiet="Name",
        config="volumesFormat",
    )

    click.echo(VOLUMES.render(rows, View(format=format, quiet=quiet)), nl=False)

The fields are those of docker/cli's formatters. A field's function takes a row and the :class:`View`;
``view.truncate`` is false for ``--no-trunc``. What it returns is printed as Go would: mostly a text. The default
table and ``--quiet`` are made without the template engine, so that they stay fast: a command imports
:mod:`swapbox.templates` only when a format is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from swapbox.cli.app import ClientError
from swapbox.cli.tables import table

if TYPE_CHECKING:
    from swapbox.templates import Template
    from swapbox.templates.values import Method

RowT = TypeVar("RowT")

IGNORED = "WARNING: Ignoring custom format, because both --format and --quiet are set."


class View(NamedTuple):
    """How to look at rows.

    :param format: what ``--format`` says; empty for the default.
    :param truncate: shorten ids and long texts.
    :param now: nanoseconds since the epoch.
    :param table: field names of the default table where they are not the listing's: ``ps --size`` has one more.
    :param raw: the same for the format ``raw``.
    """

    format: str = ""
    quiet: bool = False
    truncate: bool = True
    now: int = 0
    table: tuple[str, ...] = ()
    raw: str = ""


class Field(NamedTuple):
    """One column.

    :param value: from a row and the view; it may be slow, and is called only where the column is shown.
    """

    header: str
    value: Callable[[Any, View], Any]


class Listing(NamedTuple, Generic[RowT]):
    """A list that can be shown.

    :param name: Go's name of the context, for messages: ``can't evaluate field X in type *formatter.NAME``.
    :param fields: by the name that templates use.
    :param table: names of the default table's columns.
    :param quiet: name of the only column of ``--quiet``.
    :param raw: the template that ``--format raw`` stands for; empty where Docker has none.
    :param raw_quiet: what ``raw`` is with ``--quiet``.
    :param config: the key of the default format in Docker's ``config.json``.
    :param tried: a template is tried before there are rows, ``table`` included, as Docker does for ``ps``.
    :param methods: what takes arguments, as ``{{.Label "k"}}``: by name, a function of the row and a text.
    """

    name: str
    fields: Mapping[str, Field]
    table: tuple[str, ...]
    quiet: str = ""
    raw: str = ""
    raw_quiet: str = ""
    config: str = ""
    methods: Mapping[str, Callable[[Any, str], Any]] = {}
    tried: bool = False

    def render(self, rows: Iterable[RowT], view: View) -> str:
        """Return the text to print.

        :raises ClientError: the template is wrong.
        """
        view = view._replace(now=view.now or time.time_ns())
        if view.quiet and view.format != "raw":
            return "".join(f"{self.fields[self.quiet].value(row, view)}\n" for row in rows)
        format = view.format or ("" if view.quiet else self.configured())
        if format in ("", "table"):
            columns = [self.fields[name] for name in view.table or self.table]
            cells = ([str(column.value(row, view)) for column in columns] for row in rows)
            return table([column.header for column in columns], cells)
        return self._formatted(format, rows, view)

    @property
    def type(self) -> str:
        """Go's name of the context with its package, which is ``formatter`` for most."""
        return self.name if "." in self.name else f"formatter.{self.name}"

    def configured(self) -> str:
        """Return the format that Docker's ``config.json`` has for this list; empty without one."""
        return docker_format(self.config) if self.config else ""

    # -- templates ----------------------------------------------------------------------------------------------

    def _formatted(self, format: str, rows: Iterable[RowT], view: View) -> str:
        from swapbox.templates import TemplateError

        if self.tried:
            self._try(format)
        text = self._template_text(format, view)
        template = _parse(text)
        try:
            lines = "".join(template.render(self.context(row, view)) + "\n" for row in rows)
        except TemplateError as error:
            raise ClientError(f"template parsing error: {error.message}") from None
        if not format.startswith("table"):
            return lines
        from swapbox.cli.tabwriter import align

        return align(f"{self._headers(text)}\n{lines}")

    def _template_text(self, format: str, view: View) -> str:
        if format == "raw" and self.raw:
            text = self.raw_quiet if view.quiet else (view.raw or self.raw)
        elif format == "json":
            text = "{{json .}}"
        else:
            text = format.removeprefix("table").strip(" ")
        return text.replace("\\t", "\t").replace("\\n", "\n")

    def context(self, row: RowT, view: View) -> Any:
        """Return a row as templates see it."""
        from swapbox.templates.values import Method, Struct

        methods: dict[str, Method] = {
            name: Method(lambda field=field: field.value(row, view)) for name, field in self.fields.items()
        }
        for name, function in self.methods.items():
            methods[name] = Method(lambda text, function=function: function(row, text), ("string",))
        return Struct(self.type, {}, json=_Json(self.fields, row, view), methods=methods, escapes=True)

    def _try(self, format: str) -> None:
        """Carry a template out over a row without content."""
        from swapbox.templates import Template, TemplateError
        from swapbox.templates.values import Method, Struct

        methods = {name: Method(str) for name in self.fields}
        methods |= {name: Method(lambda _text: "", ("string",)) for name in self.methods}
        try:
            template = Template(format)
        except TemplateError as error:
            raise ClientError(f"failed to parse template: {error.message}") from None
        try:
            template.render(Struct(self.type, {}, json={}, methods=methods))
        except TemplateError as error:
            raise ClientError(f"failed to execute template: {error.message}") from None

    def _headers(self, text: str) -> str:
        """Return a table's first line: over the headers, functions leaving them as they are."""
        from swapbox.templates import TemplateError

        try:
            return _parse(text, headers=True).render(_header_map(self.fields))
        except TemplateError:
            return ""


class _Json(Mapping[str, Any]):
    """A row as ``{{json .}}`` shows it: every field, sorted by name, made when it is asked for."""

    def __init__(self, fields: Mapping[str, Field], row: Any, view: View) -> None:
        self._fields, self._row, self._view = fields, row, view

    def __getitem__(self, name: str) -> Any:
        return self._fields[name].value(self._row, self._view)

    def __iter__(self) -> Any:
        return iter(sorted(self._fields))

    def __len__(self) -> int:
        return len(self._fields)


def _parse(text: str, *, headers: bool = False) -> Template:
    from swapbox.templates import DOCKER, Template, TemplateError

    functions = {name: f._replace(call=_first) for name, f in DOCKER.items()} if headers else DOCKER
    if headers:
        functions = {name: f._replace(params=("string", *f.params[1:])) for name, f in functions.items()}
    try:
        return Template(text, functions=functions)
    except TemplateError as error:
        raise ClientError(f"template parsing error: {error.message}") from None


def _first(header: str, *_arguments: Any) -> str:
    return header


def _header_map(fields: Mapping[str, Field]) -> Any:
    from swapbox.templates.values import Map, Method

    return Map(
        {name: field.header for name, field in fields.items()},
        "formatter.SubHeaderContext",
        zero="",
        methods={"Label": Method(_label_header, ("string",))},
    )


def _label_header(name: str) -> str:
    """Return the header of a label's column: the last part of its name, in words."""
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


def docker_format(key: str) -> str:
    """Return a default format of the user's Docker configuration, ``~/.docker/config.json``; empty if none."""
    import os

    directory = os.environ.get("DOCKER_CONFIG") or os.path.join(os.environ.get("HOME", "/root"), ".docker")
    try:
        with open(os.path.join(directory, "config.json"), "rb") as file:
            data = file.read()
    except OSError:
        return ""
    if key.encode() not in data:
        return ""
    import json

    try:
        value = json.loads(data).get(key)
    except (ValueError, AttributeError):
        return ""
    return value if isinstance(value, str) else ""
