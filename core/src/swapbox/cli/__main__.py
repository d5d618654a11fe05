"""``python -m swapbox.cli``: the same as the command ``swapbox``."""

from swapbox.cli import main

main()
