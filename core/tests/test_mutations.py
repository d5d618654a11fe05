"""The inputs that fuzzers make from others keep their form."""

from __future__ import annotations

import gzip
import itertools
import random

from swapbox.testing.images import file, layer_of
from swapbox.testing.mutations import BLOCK, tar


def test_a_changed_entry_keeps_its_own_body() -> None:
    packed = layer_of([file("first", b"1" * BLOCK), file("second", b"2" * BLOCK)]).blob.source
    assert isinstance(packed, bytes)
    whole = gzip.decompress(packed)
    for seed in range(200):
        made = tar(whole, random.Random(seed), lambda data: data)
        blocks = [made[at : at + BLOCK] for at in range(0, len(made), BLOCK)]
        for header, body in itertools.pairwise(blocks):
            if header.startswith((b"first\0", b"second\0")):
                assert body == (b"1" if header.startswith(b"first") else b"2") * BLOCK, seed
