"""Fuzz a part of swapbox with atheris: ``run.py reference|manifest|layer DIRECTORY [OPTION of libFuzzer]...``.

It begins with the inputs of ``corpus/`` and of the directory, which gets those that find new ways. One that fails
is written to ``corpus/``, where it stays when what it has found is mended.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

# What is imported here is watched: atheris looks for inputs that take new ways through it.
with atheris.instrument_imports(include=["swapbox"]):
    from swapbox.testing.mutations import MUTATIONS
    from swapbox.testing.properties import CHECKS, Arena

CORPORA = Path(__file__).resolve().parent / "corpus"


def main() -> None:
    """Run until libFuzzer's options end it."""
    name, directory, *options = sys.argv[1:]
    corpus, found = CORPORA / name, Path(directory).resolve()
    check = CHECKS[name] if name in CHECKS else Arena.apart(corpus, found).layer
    arguments = [sys.argv[0], f"-artifact_prefix={corpus}/", *options, str(found), str(corpus)]
    atheris.Setup(arguments, check, custom_mutator=_mutator(name))
    atheris.Fuzz()


def _mutator(name: str) -> Callable[[bytes, int, int], bytes]:
    change = MUTATIONS[name]

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        made = change(data, random.Random(seed), lambda given: atheris.Mutate(given, longest))
        return made[:longest]

    return mutate


if __name__ == "__main__":
    main()
