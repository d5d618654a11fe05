"""Ids and names of containers."""

from __future__ import annotations

import os

import pytest

from swapbox.containers import names
from swapbox.containers.options import check_name


def test_an_id_has_64_hex_digits_and_is_new() -> None:
    ids = {names.new_id() for _ in range(50)}
    assert len(ids) == 50
    assert all(len(text) == 64 and set(text) <= set("0123456789abcdef") for text in ids)


def test_the_short_id_is_never_a_decimal_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """It becomes the host name, and a host name of digits alone can be taken for an address."""
    draws = [b"\x12" * 32, b"\x12" * 5 + b"\x1a" * 27]
    monkeypatch.setattr(os, "urandom", lambda _size: draws.pop(0))
    assert names.new_id().startswith("12" * 5 + "1a")
    assert not draws


def test_a_name_is_an_adjective_and_a_surname_that_docker_would_accept() -> None:
    adjective, _, surname = (name := names.new_name()).partition("_")
    assert adjective.isalpha()
    assert surname.isalpha()
    check_name(name)


def test_there_are_enough_names() -> None:
    for words in (names._ADJECTIVES.split(), names._SURNAMES.split()):
        assert len(words) == len(set(words)) >= 80


def test_a_digit_is_appended_after_a_name_was_taken() -> None:
    assert names.new_name(1)[-1].isdigit()


def test_wozniak_is_never_boring(monkeypatch: pytest.MonkeyPatch) -> None:
    picks = ["boring", "wozniak", "brave", "wozniak"]
    monkeypatch.setattr(names, "_pick", lambda _words: picks.pop(0))
    assert names.new_name() == "brave_wozniak"
