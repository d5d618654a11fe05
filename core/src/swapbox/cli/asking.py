"""The question that Docker asks before it removes many things."""

from __future__ import annotations

import sys

import click


def agreed(warning: str) -> bool:
    """Print a warning, ask whether to go on, and say whether a line of stdin says yes."""
    click.echo(f"{warning}\nAre you sure you want to continue? [y/N] ", nl=False)
    return sys.stdin.readline().strip().lower() == "y"
