from __future__ import annotations

import pytest

from swapbox.cli.app import ClientError
from swapbox.cli.detach import DEFAULT_KEYS, DetachKeys, parse_keys


def test_the_default_keys_are_ctrl_p_and_ctrl_q() -> None:
    assert parse_keys(DEFAULT_KEYS) == b"\x10\x11"


@pytest.mark.parametrize(
    ("text", "keys"), [("a", b"a"), ("ctrl-a,b", b"\x01b"), ("ctrl-@", b"\0"), ("ctrl-[", b"\x1b")]
)
def test_keys_are_characters_and_control_letters(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["", "ab", "ctrl-", "ctrl-aa", "a,,b", "ä"])
def test_other_keys_are_refused(text: str) -> None:
    with pytest.raises(ClientError, match="invalid detach keys"):
        parse_keys(text)


def test_the_sequence_detaches_even_in_pieces() -> None:
    keys = DetachKeys(b"\x10\x11")
    assert keys.feed(b"abc\x10") == (b"abc", False)
    assert keys.feed(b"\x11def") == (b"", True)


def test_a_beginning_that_does_not_go_on_is_passed_on() -> None:
    keys = DetachKeys(b"\x10\x11")
    assert keys.feed(b"\x10") == (b"", False)
    assert keys.feed(b"x\x10\x10") == (b"\x10x\x10", False)
    assert keys.feed(b"\x11") == (b"", True)
