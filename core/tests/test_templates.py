"""Go templates: what cannot be seen by comparing with docker, which tests/e2e/test_templates_as_docker.py does."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swapbox.templates import Template, TemplateError
from swapbox.templates.printing import sprintf
from swapbox.templates.values import Map, Method, Nil, Slice, Struct, to_json

PIECES = (
    *(
        "{{",
        "}}",
        "{{-",
        " -}}",
        "/*",
        "*/",
        ".",
        "$",
        "$x",
        ":=",
        "=",
        "|",
        "(",
        ")",
        ",",
        " ",
        "\n",
        "é",
        "\udc80",
    ),
    *(
        "if ",
        "else ",
        "end",
        "range ",
        "with ",
        'define "a"',
        'template "a"',
        "block ",
        "break",
        "continue",
        "nil",
    ),
    *(
        "true",
        '"a"',
        "`r`",
        "'c'",
        "1",
        "-1",
        "0x",
        "1e5",
        "1i",
        "9" * 20,
        "9" * 5000,
        ".S",
        ".L",
        ".M",
        ".N",
        ".D",
    ),
    *("index ", "len ", "printf ", '"%d%[2]s%*.*f"', "print ", "eq ", "and ", "or ", "not ", "slice ", "json "),
    *("split ", "join ", "pad ", "truncate ", "title ", "html ", "js ", "urlquery ", "call ", "\\", '"', "'", "`"),
)
DATA: dict[str, Any] = {"S": "abcé", "L": ["a", 1, None], "M": {"a": 1.5, "b": None}, "N": None, "D": {"x": [1]}}


def stated() -> Struct:
    """Return a value as the typed documents of ``inspect`` have it."""
    return Struct(
        "container.State",
        {"Status": "running", "Health": Nil("*container.Health"), "Env": Slice(None, "[]string")},
        json={"Status": "running"},
        methods={"Label": Method(lambda name: f"label {name}", ("string",))},
    )


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=25).map("".join)), st.booleans())
def test_any_text_is_a_template_or_a_template_error(text: str, strict: bool) -> None:
    for template in (text, f"{{{{{text}}}}}"):
        with contextlib.suppress(TemplateError):
            Template(template).render(DATA, strict=strict)


@settings(max_examples=1000, deadline=None)
@given(
    st.text(alphabet="%+-# 0123456789.*[]vTtdboOxXcqUeEfFgGsp!é"),
    st.lists(st.sampled_from([1, -1, 1.5, float("inf"), "aé", True, None, [1, "a"], {"k": 1}, 2**62, 1j])),
)
def test_printf_never_fails(template: str, values: list[Any]) -> None:
    assert isinstance(sprintf(template, values), str)


@pytest.mark.parametrize(
    "nested", ["{{" + "(" * 3000 + "1" + ")" * 3000 + "}}", "{{if 1}}" * 3000 + "{{end}}" * 3000]
)
def test_deep_nesting_is_refused(nested: str) -> None:
    with pytest.raises(TemplateError, match="nesting"):
        Template(nested)


def test_a_template_that_calls_itself_is_ended() -> None:
    with pytest.raises(TemplateError, match="maximum template depth"):
        Template('{{define "x"}}{{template "x"}}{{end}}{{template "x"}}').render(None)
    assert sys.getrecursionlimit() > 0


@pytest.mark.parametrize(
    ("template", "printed"),
    [
        ("{{.Status}} {{.Health}} {{.Env}} {{len .Env}}", "running <nil> [] 0"),
        ("{{if .Health}}has one{{else}}has none{{end}}", "has none"),
        ("{{.}}", "{running <nil> []}"),
        ('{{printf "%v %+v" . .}}', "&{running <nil> []} &{Status:running Health:<nil> Env:[]}"),
        ('{{printf "%T %T %T" . .Health .Env}}', "*container.State *container.Health []string"),
        ("{{json .}} {{json .Env}} {{json .Health}}", '{"Status":"running"} null null'),
        ('{{.Label "a"}} {{"b" | .Label}}', "label a label b"),
        ('{{join .Env ","}}|', "|"),
    ],
)
def test_types_show_as_in_go(template: str, printed: str) -> None:
    assert Template(template).render(stated()) == printed


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Nope}}", ':1:2: executing "" at <.Nope>: can\'t evaluate field Nope in type *container.State'),
        ("{{.Health.Log}}", ':1:9: executing "" at <.Health.Log>: nil pointer evaluating *container.Health.Log'),
        ("{{.Label}}", ':1:2: executing "" at <.Label>: wrong number of args for Label: want 1 got 0'),
        ("{{.Label 1}}", ':1:9: executing "" at <1>: expected string; found 1'),
        (
            "{{.Status 1}}",
            ':1:2: executing "" at <.Status>: Status has arguments but cannot be invoked as function',
        ),
    ],
)
def test_mistakes_name_the_types(template: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(template).render(stated())
    assert caught.value.message == f"template: {message}"


def test_json_is_as_go_writes_it() -> None:
    value = {"b": "<&>\u2028\x00\udc80é", "a": [1.0, 1.5, True, None], "m": Map(None, "map[string]string")}
    assert to_json(value) == '{"a":[1,1.5,true,null],"b":"<&>\\u2028\\u0000\ufffdé","m":null}'


def test_a_map_of_texts_has_an_empty_text_for_a_missing_key() -> None:
    labels = Map({"a": "1"}, "map[string]string", zero="")
    assert Template('{{index . "b"}}|{{.b}}').render(labels) == "|<no value>"
