"""Calls of editing and observing hooks: one implementation at a time, each under the hook's policy.

Imported only when some plugin implements such a hook: this is where pluggy and threads come in.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from swapbox.errors import PluginError, SwapboxError, describe
from swapbox.plugins.discovery import new_manager
from swapbox.plugins.index import Entry


class Answer(NamedTuple):
    """What one plugin's implementation returned, or how it failed."""

    entry: Entry
    result: Any = None
    error: PluginError | None = None


def call(
    hook: str, plugins: Mapping[Entry, object], arguments: Mapping[str, Any], *, timeout: float
) -> Iterator[Answer]:
    """Call every plugin's implementation of a hook, in pluggy's order, and yield each answer as it comes.

    :param plugins: the plugins that implement the hook, in the order in which they are to be called.
    :param timeout: seconds each implementation gets.
    """
    manager = new_manager()
    entries = {}
    for entry, plugin in [*plugins.items()][::-1]:  # pluggy calls the last registered first
        if not manager.is_registered(plugin):
            entries[manager.register(plugin, name="/".join(entry.key))] = entry
    for implementation in reversed(getattr(manager.hook, hook).get_hookimpls()):
        others = manager.get_plugins() - {implementation.plugin}
        caller = manager.subset_hook_caller(hook, others)
        yield _answer(entries[implementation.plugin_name], hook, partial(caller, **arguments), timeout)


def _answer(entry: Entry, hook: str, function: Callable[[], list[Any]], timeout: float) -> Answer:
    """Run one implementation; its generator, if it is one, is run to its end under the same timeout."""
    outcome: list[Answer] = []

    def run() -> None:
        try:
            result = next(iter(function()), None)
            outcome.append(Answer(entry, [*result] if isinstance(result, Iterator) else result))
        except BaseException as error:  # also SystemExit, which would end the thread in silence
            outcome.append(Answer(entry, error=_failure(entry, hook, error)))

    # A daemon thread: an implementation that never returns must not keep the process from ending.
    thread = threading.Thread(target=run, name=f"{hook} of {entry.name}", daemon=True)
    thread.start()
    thread.join(timeout)
    return (
        outcome[0]
        if outcome
        else Answer(entry, error=_failure(entry, hook, TimeoutError(f"no answer in {timeout:g} s")))
    )


def _failure(entry: Entry, hook: str, error: BaseException) -> PluginError:
    failure = PluginError(
        f"plugin {entry.name!r} of {entry.distribution} {entry.version}: {hook}: {describe(error)}",
        hint=error.hint if isinstance(error, SwapboxError) else None,
    )
    failure.__cause__ = error
    return failure
