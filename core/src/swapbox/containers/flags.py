"""From the texts of the options of ``run`` and ``create`` to what the user asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from swapbox.containers import devices, limits, options, security, volumes
from swapbox.containers.config import ContainerConfig, Healthcheck, MountSpec
from swapbox.errors import InvalidFlag, InvalidInput

ValueT = TypeVar("ValueT")


def asked_config(given: Mapping[str, Any], environment: Mapping[str, str], directory: Path) -> ContainerConfig:
    """Turn the command line's texts into what the user asks for.

    :param given: a value for each of the options, by its name with underscores.
    :param environment: where ``-e NAME`` takes values from.
    :param directory: what relative paths are relative to; it must be the working directory.
    :raises InvalidInput: with Docker's words; InvalidFlag for a value that Docker's client does not even take.
    """
    integer = options.parse_integer
    network = _network(given)
    asked = with_resources(
        ContainerConfig(
            image=given["image"],
            cmd=tuple(given["command"]),
            entrypoint=None if given["entrypoint"] is None else (given["entrypoint"],),
            env=_environment(given, environment),
            workdir=given["workdir"],
            user=given["user"],
            hostname=given["hostname"],
            domainname=given["domainname"],
            tty=given["tty"],
            stdin_open=given["interactive"],
            attach=tuple(given["attach"]),
            labels=_labels(given),
            stop_signal=given["stop_signal"],
            stop_timeout=_one(given, "stop_timeout", integer),
            mounts=_mounts(given, directory),
            volumes=tuple(volumes.parse_anonymous(text) for text in given["volume"] if ":" not in text),
            volumes_from=tuple(given["volumes_from"]),
            volume_driver=given["volume_driver"] or "",
            tmpfs=volumes.parse_tmpfs(given["tmpfs"]),
            read_only=given["read_only"],
            privileged=given["privileged"],
            cap_add=security.parse_capabilities(given["cap_add"], flag="--cap-add"),
            cap_drop=security.parse_capabilities(given["cap_drop"], flag="--cap-drop"),
            security_opt=security.parse_security_opts(given["security_opt"]),
            ulimits=_all(given, "ulimit", limits.parse_ulimits),
            sysctls=_all(given, "sysctl", security.parse_sysctls),
            init=given["init"],
            oom_score_adj=_one(given, "oom_score_adj", integer) or 0,
            shm_size=_one(given, "shm_size", limits.parse_memory) or 0,
            devices=devices.parse_devices(given["device"]),
            group_add=tuple(given["group_add"]),
            annotations=options.parse_map(given["annotation"]),
            exposed_ports=_exposed(given["expose"], network.get("ports", ())),
            healthcheck=_healthcheck(given),
            **network,
            userns=options.parse_userns(given["userns"]),
            auto_remove=given["auto_remove"],
            storage=given["storage"] or "",
            isolation=_isolation(given),
            cgroup=given["cgroup"] or "",
            logging=given["logging"] or "",
            log_opts=options.parse_map(given["log_opt"]),
            network_driver=given["network_driver"] or "",
        ),
        given,
    )
    options.check_removal(asked)
    return asked


def with_resources(config: ContainerConfig, given: Mapping[str, Any]) -> ContainerConfig:
    """Put the options that ``update`` has, too, into a configuration; those not given stay as they are.

    :raises InvalidInput: with Docker's words.
    """
    asked: dict[str, Any] = {name: _one(given, name, parse) for name, parse in _RESOURCES.items() if given[name]}
    if "cpus" in asked:
        asked["nano_cpus"] = asked.pop("cpus")
    if given["restart"]:
        from swapbox.containers.restart import parse_restart

        asked["restart"], asked["restart_retries"] = parse_restart(given["restart"])
    return config._replace(**asked)


def check_resources(given: Mapping[str, Any]) -> None:
    """Check what Docker's client checks of the options of ``update``.

    :raises InvalidFlag: with Docker's words.
    """
    for name, parse in _RESOURCES.items():
        _one(given, name, parse)


_RESOURCES: Mapping[str, Callable[[str], Any]] = {
    "memory": limits.parse_memory,
    "memory_swap": limits.parse_memory_swap,
    "memory_reservation": limits.parse_memory,
    "cpus": limits.parse_cpus,
    "cpu_shares": options.parse_integer,
    "cpu_period": options.parse_integer,
    "cpu_quota": options.parse_integer,
    "cpuset_cpus": str,
    "cpuset_mems": str,
    "pids_limit": options.parse_integer,
}


_NETWORK_FLAGS = (
    *("publish", "publish_all", "network_alias", "ip", "ip6", "mac_address", "link", "link_local_ip"),
    *("dns", "dns_search", "dns_option", "add_host"),
)


def _network(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields about networks; most commands name one network at most."""
    networks = given["network"]
    plain = len(networks) < 2 and all(text and not {"=", ":"}.intersection(text) for text in networks)
    if not plain or any(given[name] for name in _NETWORK_FLAGS):
        from swapbox.containers.network_flags import network_fields

        return network_fields(given)
    return {"network": networks[0]} if networks else {}


def _isolation(given: Mapping[str, Any]) -> str:
    """Return the isolation driver, which ``--runtime`` names too."""
    isolation, runtime = given["isolation"] or "", given["runtime"]
    if isolation and runtime and isolation != runtime:
        raise InvalidInput(f"conflicting options: --isolation {isolation} and --runtime {runtime}")
    return isolation or runtime


def _labels(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of the files, then those of ``--label``; of one name, the last counts."""
    labels: dict[str, str] = {}
    for path in given["label_file"]:
        labels |= options.read_label_file(Path(path))
    return labels | _all(given, "label", options.parse_labels)


def _healthcheck(given: Mapping[str, Any]) -> Healthcheck | None:
    if not (given["no_healthcheck"] or any(given[name] for name in given if name.startswith("health_"))):
        return None
    from swapbox.containers.healthcheck import DURATIONS, parse_healthcheck
    from swapbox.durations import parse_duration

    for name in DURATIONS:
        _one(given, f"health_{name}", parse_duration)
    _one(given, "health_retries", options.parse_integer)
    return parse_healthcheck(given)


def _one(given: Mapping[str, Any], name: str, parse: Callable[[str], ValueT]) -> ValueT | None:
    """Read the value of an option; None when it is not given.

    :raises InvalidFlag: with Docker's words.
    """
    return _flag_value(name, given[name], parse) if given[name] else None


def _exposed(texts: Iterable[str], published: Iterable[Any]) -> tuple[str, ...]:
    """Return the ports of ``--expose`` and those of ``-p``."""
    ports = tuple(f"{one.private}/{one.protocol}" for one in published)
    if not texts:
        return ports
    from swapbox.containers.exposed import parse_port

    return (*ports, *(parse_port(text) for text in texts))


def _all(given: Mapping[str, Any], name: str, parse: Callable[[Iterable[str]], ValueT]) -> ValueT:
    """Read the values of an option that may be given several times.

    :raises InvalidFlag: with Docker's words, for the first one that is wrong.
    """
    for value in given[name]:
        _flag_value(name, value, lambda text: parse([text]))
    return parse(given[name])


def _flag_value(name: str, text: str, parse: Callable[[str], ValueT]) -> ValueT:
    try:
        return parse(text)
    except InvalidInput as error:
        raise InvalidFlag(error.message, option=name, value=text, hint=error.hint) from None


def _environment(given: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables of the files, then those of ``-e``; of one name, the last counts."""
    items = [item for path in given["env_file"] for item in options.read_env_file(Path(path), environment)]
    return (*items, *_all(given, "env", lambda values: options.parse_env(values, environment)))


def _mounts(given: Mapping[str, Any], directory: Path) -> tuple[MountSpec, ...]:
    driver = given["volume_driver"] or ""
    texts = [text for text in dict.fromkeys(given["volume"]) if ":" in text]
    mounts = [volumes.parse_volume(text, directory, driver=driver) for text in texts]
    return (*mounts, *(_mount(text, directory) for text in given["mount"]))


def _mount(text: str, directory: Path) -> MountSpec:
    from swapbox.containers.mount_flag import parse_mount

    try:
        return parse_mount(text, directory)
    except InvalidInput as error:
        if error.message.startswith("invalid mount config"):  # what Docker's client leaves to its daemon
            raise
        raise InvalidFlag(error.message, option="mount", value=text, hint=error.hint) from None
