"""The verbs of the specification over a whole list: ADD, CHECK, DEL, GC; see its section 3."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from swapbox.errors import SwapboxError, Unavailable, Unsupported
from swapbox_network_cni import results
from swapbox_network_cni.attachments import Attachment, Place
from swapbox_network_cni.lists import VERSIONS, PluginList, execution
from swapbox_network_cni.program import Plugins, UnknownContainer

_MASQUERADING = ("bridge", "ptp")


def agreed(plugins: Plugins, made: PluginList) -> PluginList:
    """Return a list with the version that all its plugins speak.

    :raises NotFound: a plugin is not installed.
    :raises Unsupported: there is no such version.
    """
    if not made.versions:
        return made
    spoken = [set(plugins.versions(str(one["type"]), made.name)) for one in made.plugins]
    for version in reversed(VERSIONS):
        if version in (made.version, *made.versions) and all(version in one for one in spoken):
            return made._replace(version=version)
    raise Unsupported(f"network {made.name} ({made.source}): its plugins have no version of the CNI in common")


def check_plugins(plugins: Plugins, made: PluginList) -> None:
    """Check that all plugins of a list are there and speak its version.

    :raises NotFound: one is not there.
    :raises Unsupported: one does not.
    """
    for kind in dict.fromkeys(str(one["type"]) for one in made.plugins):
        spoken = plugins.versions(kind, made.name)
        if made.version not in spoken:
            raise Unsupported(
                f"CNI plugin {kind} does not speak version {made.version} of network {made.name}",
                hint=f"change cniVersion in {made.source}; it speaks {', '.join(spoken)}",
            )


def add(plugins: Plugins, place: Place, attachment: Attachment, netns: str) -> Mapping[str, Any]:
    """Connect: each plugin gets the result of the one before; return that of the last.

    :raises SwapboxError: a plugin failed.
    """
    result: Any = None
    environment = _environment(attachment, netns)
    for number, config in enumerate(_configs(attachment)):
        told = config if result is None else {**config, "prevResult": result}
        with place.output(number) as out:
            result = plugins.call("ADD", told, environment=environment, lock=place.lock, out=out)
        if not isinstance(result, dict):
            raise Unavailable(f"CNI plugin {config['type']} of network {config['name']}: ADD said no result")
    assert result is not None
    return result  # type: ignore[no-any-return]


def check(plugins: Plugins, place: Place, attachment: Attachment, netns: str) -> None:
    """Let the plugins look whether everything is as they made it.

    :raises SwapboxError: it is not.
    """
    if not attachment.plugins.checks:
        return
    result = results.within(place.result(), netns)
    for config in _configs(attachment):
        told = {**config, "prevResult": result}
        plugins.call("CHECK", told, environment=_environment(attachment, netns), lock=place.lock)


def delete(plugins: Plugins, place: Place, attachment: Attachment, netns: str) -> None:
    """Disconnect, the last plugin first, and forget the attachment; what is gone already is fine.

    :param netns: empty when the namespace is gone.
    :raises SwapboxError: of one plugin at least, after the others; the attachment stays.
    """
    result, failure = place.result(), None
    for number, config in reversed(list(enumerate(_configs(attachment)))):
        told = config if result is None else {**config, "prevResult": result}
        again = place.begin_undoing(number)
        try:
            with _namespace(attachment, config, result, netns) as path:
                _undo(plugins, place, told, _environment(attachment, path), again=again and path != netns)
        except UnknownContainer:
            continue
        except SwapboxError as error:
            failure = error
    if failure is not None:
        raise failure
    place.remove()


def _undo(
    plugins: Plugins, place: Place, told: Mapping[str, Any], environment: dict[str, str], *, again: bool
) -> None:
    """Run DEL of a plugin.

    :param again: it ran before, and there is a stand-in for the namespace: a plugin that masquerades fails over
        rules that it has removed already. Then it is asked to undo all the rest.
    :raises SwapboxError: it failed.
    """
    try:
        plugins.call("DEL", told, environment=environment, lock=place.lock)
    except SwapboxError:
        if not again:
            raise
        plugins.call("DEL", told, environment={**environment, "CNI_NETNS": ""}, lock=place.lock)


@contextlib.contextmanager
def _namespace(attachment: Attachment, config: Mapping[str, Any], result: Any, netns: str) -> Iterator[str]:
    """Yield the namespace for DEL of a plugin, empty for none.

    To undo masquerading ``bridge`` and ``ptp`` need the addresses of the container's interface, and look for them
    nowhere but in the namespace. Ours is gone with the container; so they get another one that has them.
    """
    if netns or result is None or config["type"] not in _MASQUERADING or not config.get("ipMasq"):
        yield netns
        return
    from swapbox_network_cni.standin import standin

    with standin(attachment.interface, results.connection(result, attachment.interface).addresses) as path:
        yield path


def collect(plugins: Plugins, made: PluginList, valid: Collection[tuple[str, str]]) -> None:
    """Let the plugins free what belongs to none of the attachments that are valid.

    :param valid: endpoint and interface.
    :raises SwapboxError: a plugin failed, after the others.
    """
    failure = None
    attachments = [{"containerID": endpoint, "ifname": interface} for endpoint, interface in valid]
    for plugin in made.plugins:
        told = {**execution(made, plugin, {}), "cni.dev/valid-attachments": attachments}
        try:
            plugins.call("GC", told)
        except SwapboxError as error:
            failure = error
    if failure is not None:
        raise failure


def _configs(attachment: Attachment) -> Iterator[dict[str, Any]]:
    for plugin in attachment.plugins.plugins:
        yield execution(attachment.plugins, plugin, attachment.capabilities)


def _environment(attachment: Attachment, netns: str) -> dict[str, str]:
    return {
        "CNI_CONTAINERID": attachment.endpoint,
        "CNI_NETNS": netns,
        "CNI_IFNAME": attachment.interface,
        "CNI_ARGS": attachment.arguments,
    }
