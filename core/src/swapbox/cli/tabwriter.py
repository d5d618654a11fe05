"""Columns as Go's text/tabwriter lays them out, which is what ``docker`` prints with."""

from __future__ import annotations


def align(text: str, *, minimum: int = 10, padding: int = 3) -> str:
    """Replace the tabs of ``text`` by spaces so that cells line up; defaults are those of ``docker``.

    A tab ends a cell; what follows the last tab of a line belongs to no column. A column is a run of consecutive
    lines that have the cell: it is as wide as its widest cell plus ``padding``, and at least ``minimum``.
    """
    lines = [line.split("\t") for line in text.split("\n")]
    for column in range(max(map(len, lines)) - 1):
        start = 0
        while start < len(lines):
            end = start
            while end < len(lines) and len(lines[end]) - 1 > column:
                end += 1
            _pad(lines[start:end], column, minimum, padding)
            start = end + 1
    return "\n".join("".join(line) for line in lines)


def _pad(lines: list[list[str]], column: int, minimum: int, padding: int) -> None:
    width = max((minimum, *(len(line[column]) + padding for line in lines)))
    for line in lines:
        line[column] = line[column].ljust(width)
