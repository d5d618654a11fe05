#!/usr/bin/env python3
"""Compare swapbox with Docker and Podman on this machine: the same work, the same images, in turn.

    python bench/run.py                       everything but the slow measures
    python bench/run.py --only run,pull       the named measures
    python bench/run.py --json samples.json   keep every sample too

All data is on tmpfs, so that the disk does not drown the engines. Values are medians; a ratio below 1 means that
swapbox takes less, or of a throughput that it carries less. Memory is that of the processes an engine keeps per
container (monitor, shim, conmon); the container's own process is in none of the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from contenders import ALL, Contender, enter_available
from measures import MEASURES, Images, Sample
from swapbox.errors import SwapboxError
from swapbox.testing import debian, images, publish, servers, tools
from swapbox.testing.sandbox import scratch_directory

Medians = dict[str, dict[str, float]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [name for name, measure in MEASURES.items() if measure.usual]
    parser.add_argument("--only", default=",".join(usual), help=f"measures, of: {', '.join(MEASURES)}")
    parser.add_argument("--engines", default=",".join(ALL), help=f"engines, of: {', '.join(ALL)}")
    parser.add_argument("--rounds", type=int, help="rounds of each measure, instead of its usual number")
    parser.add_argument("--json", type=Path, help="write all samples to this file")
    arguments = parser.parse_args()
    arguments.only = _names(parser, arguments.only or ",".join(usual), MEASURES)
    arguments.engines = _names(parser, arguments.engines, ALL)
    return arguments


def _names(parser: argparse.ArgumentParser, text: str, known: Mapping[str, object]) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            parser.error(f"unknown {name!r}, choose of: {', '.join(known)}")
    return names


@contextlib.contextmanager
def _images(measures: list[str]) -> Iterator[Images]:
    made = {"debian": debian.debian_image, "files": _files, "large": _large, "iperf": tools.iperf_image}
    wanted = {MEASURES[name].image for name in measures} & made.keys()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=scratch_directory()) as directory:
        with servers.docker_registry(Path(directory)) as address:
            busybox = publish.push(address, "busybox", "latest", images.busybox_image())
            more = {name: publish.push(address, name, "latest", made[name]()) for name in wanted}
            yield Images(busybox, **more)


def _files() -> images.Image:
    return images.small_files_image(layers=20, files=60_000)


def _large() -> images.Image:
    return images.incompressible_image([1_000_000_000, *[16_000_000] * 19])


def _measure(name: str, contenders: list[Contender], made: Images, rounds: int | None) -> list[Sample]:
    measure = MEASURES[name]
    print(f"{name}: {measure.title} ...", file=sys.stderr)
    return list(measure.samples(contenders, made, rounds or measure.rounds))


def _medians(samples: dict[str, list[Sample]]) -> Medians:
    medians: Medians = {}
    for name, taken in samples.items():
        engines = dict.fromkeys(engine for engine, _ in taken)
        medians[name] = {engine: statistics.median(v for e, v in taken if e == engine) for engine in engines}
    return medians


def _table(medians: Medians, contenders: list[Contender]) -> str:
    names = [contender.name for contender in contenders]
    others = [name for name in names if name != "swapbox"] if "swapbox" in names else []
    rows = [["", *names, *(f"/ {name}" for name in others)]]
    for key, values in medians.items():
        measure = MEASURES[key]
        figures = [f"{values[name]:.4g} {measure.unit}" for name in names]
        ratios = [f"{values['swapbox'] / values[name]:.2f}" if values[name] else "" for name in others]
        rows.append([measure.title, *figures, *ratios])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        row[0].ljust(widths[0])
        + "".join(cell.rjust(width + 3) for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )


def main() -> int:
    """Measure, print one table, and return the exit code."""
    arguments = _arguments()
    samples: dict[str, list[Sample]] = {}
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(_images(arguments.only))
        except SwapboxError as error:
            print(f"no registry or image to measure with: {error} ({error.hint})", file=sys.stderr)
            return 1
        contenders = enter_available(arguments.engines, stack)
        for contender in contenders:
            contender.engine.ok("pull", *contender.pull_options, made.busybox)
        for name in arguments.only:
            samples[name] = _measure(name, contenders, made, arguments.rounds)
        medians = _medians(samples)
        print(
            f"{os.cpu_count()} cores, kernel {os.uname().release}, "
            + ", ".join(f"{c.name} {c.version}" for c in contenders)
        )
        print(_table(medians, contenders))
    if arguments.json:
        arguments.json.write_text(json.dumps({"medians": medians, "samples": samples}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
