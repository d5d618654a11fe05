"""The types of Docker's API, so that ``inspect --format`` prints a document as the docker client does.

The client reads a daemon's JSON into Go structs: they have an order of fields, values for what JSON left out, and
types that show: ``{{.State.Health}}`` is ``<nil>`` without a health check, ``{{.HostConfig.Binds}}`` is ``[]`` for
null. The notation here is Go's; ``ID=Id`` is a field that JSON calls otherwise. Fields are those of docker 28.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from swapbox.templates.values import Map, Nil, Slice, Struct, Time

_TYPES = """
container.InspectResponse: ID=Id string, Created string, Path string, Args []string, State *container.State,
  Image string, ResolvConfPath string, HostnamePath string, HostsPath string, LogPath string, Name string,
  RestartCount int, Driver string, Platform string, MountLabel string, ProcessLabel string, AppArmorProfile
  string, ExecIDs []string, HostConfig *container.HostConfig, GraphDriver storage.DriverData, SizeRw *int64,
  SizeRootFs *int64, Mounts []container.MountPoint, Config *container.Config, NetworkSettings
  *container.NetworkSettings
container.State: Status string, Running bool, Paused bool, Restarting bool, OOMKilled bool, Dead bool, Pid int,
  ExitCode int, Error string, StartedAt string, FinishedAt string, Health *container.Health
container.Health: Status string, FailingStreak int, Log []*container.HealthcheckResult
container.HealthcheckResult: Start time.Time, End time.Time, ExitCode int, Output string
container.HostConfig: Binds []string, ContainerIDFile string, LogConfig container.LogConfig, NetworkMode string,
  PortBindings map[string][]nat.PortBinding, RestartPolicy container.RestartPolicy, AutoRemove bool,
  VolumeDriver string, VolumesFrom []string, ConsoleSize [2]uint, Annotations map[string]string, CapAdd
  []string, CapDrop []string, CgroupnsMode string, DNS=Dns []string, DNSOptions=DnsOptions []string,
  DNSSearch=DnsSearch []string, ExtraHosts []string, GroupAdd []string, IpcMode string, Cgroup string, Links
  []string, OomScoreAdj int, PidMode string, Privileged bool, PublishAllPorts bool, ReadonlyRootfs bool,
  SecurityOpt []string, StorageOpt map[string]string, Tmpfs map[string]string, UTSMode string, UsernsMode
  string, ShmSize int64, Sysctls map[string]string, Runtime string, Isolation string, CPUShares=CpuShares int64,
  Memory int64, NanoCPUs=NanoCpus int64, CgroupParent string, BlkioWeight uint16, BlkioWeightDevice []any,
  BlkioDeviceReadBps []any, BlkioDeviceWriteBps []any, BlkioDeviceReadIOps []any, BlkioDeviceWriteIOps []any,
  CPUPeriod=CpuPeriod int64, CPUQuota=CpuQuota int64, CPURealtimePeriod=CpuRealtimePeriod int64,
  CPURealtimeRuntime=CpuRealtimeRuntime int64, CpusetCpus string, CpusetMems string, Devices
  []container.DeviceMapping, DeviceCgroupRules []string, DeviceRequests []any, KernelMemory int64,
  KernelMemoryTCP int64, MemoryReservation int64, MemorySwap int64, MemorySwappiness *int64, OomKillDisable
  *bool, PidsLimit *int64, Ulimits []*container.Ulimit, CPUCount=CpuCount int64, CPUPercent=CpuPercent int64,
  IOMaximumIOps uint64, IOMaximumBandwidth uint64, Mounts []mount.Mount, MaskedPaths []string, ReadonlyPaths
  []string, Init *bool
container.LogConfig: Type string, Config map[string]string
container.RestartPolicy: Name string, MaximumRetryCount int
container.DeviceMapping: PathOnHost string, PathInContainer string, CgroupPermissions string
container.Ulimit: Name string, Hard int64, Soft int64
container.MountPoint: Type string, Name string, Source string, Destination string, Driver string, Mode string,
  RW bool, Propagation string
mount.Mount: Type string, Source string, Target string, ReadOnly bool, Consistency string, BindOptions any,
  VolumeOptions any, ImageOptions any, TmpfsOptions any, ClusterOptions any
container.Config: Hostname string, Domainname string, User string, AttachStdin bool, AttachStdout bool,
  AttachStderr bool, ExposedPorts map[string]struct{}, Tty bool, OpenStdin bool, StdinOnce bool, Env []string,
  Cmd []string, Healthcheck *v1.HealthcheckConfig, ArgsEscaped bool, Image string, Volumes map[string]struct{},
  WorkingDir string, Entrypoint []string, NetworkDisabled bool, MacAddress string, OnBuild []string, Labels
  map[string]string, StopSignal string, StopTimeout *int, Shell []string
v1.HealthcheckConfig: Test []string, Interval time.Duration, Timeout time.Duration, StartPeriod time.Duration,
  StartInterval time.Duration, Retries int
container.NetworkSettings: Bridge string, SandboxID string, SandboxKey string, Ports
  map[string][]nat.PortBinding, HairpinMode bool, LinkLocalIPv6Address string, LinkLocalIPv6PrefixLen int,
  SecondaryIPAddresses []any, SecondaryIPv6Addresses []any, EndpointID string, Gateway string, GlobalIPv6Address
  string, GlobalIPv6PrefixLen int, IPAddress string, IPPrefixLen int, IPv6Gateway string, MacAddress string,
  Networks map[string]*network.EndpointSettings
network.EndpointSettings: IPAMConfig any, Links []string, Aliases []string, MacAddress string, DriverOpts
  map[string]string, GwPriority int, NetworkID string, EndpointID string, Gateway string, IPAddress string,
  IPPrefixLen int, IPv6Gateway string, GlobalIPv6Address string, GlobalIPv6PrefixLen int, DNSNames []string
nat.PortBinding: HostIP=HostIp string, HostPort string
storage.DriverData: Data map[string]string, Name string
image.InspectResponse: ID=Id string, RepoTags []string, RepoDigests []string, Parent string, Comment string,
  Created string, Container string, ContainerConfig *container.Config, DockerVersion string, Author string,
  Config *v1.DockerOCIImageConfig, Architecture string, Variant string, Os string, OsVersion string, Size int64,
  VirtualSize int64, GraphDriver storage.DriverData, RootFS image.RootFS, Metadata image.Metadata
v1.DockerOCIImageConfig: User string, ExposedPorts map[string]struct{}, Env []string, Entrypoint []string, Cmd
  []string, Volumes map[string]struct{}, WorkingDir string, Labels map[string]string, StopSignal string,
  ArgsEscaped bool, Healthcheck *v1.HealthcheckConfig, OnBuild []string, Shell []string
image.RootFS: Type string, Layers []string
image.Metadata: LastTagTime time.Time
volume.Volume: ClusterVolume any, CreatedAt string, Driver string, Labels map[string]string, Mountpoint string,
  Name string, Options map[string]string, Scope string, Status map[string]any, UsageData *volume.UsageData
volume.UsageData: RefCount int64, Size int64
network.Inspect: Name string, ID=Id string, Created time.Time, Scope string, Driver string, EnableIPv4 bool,
  EnableIPv6 bool, IPAM network.IPAM, Internal bool, Attachable bool, Ingress bool, ConfigFrom
  network.ConfigReference, ConfigOnly bool, Containers map[string]network.EndpointResource, Options
  map[string]string, Labels map[string]string, Peers []any, Services map[string]any
network.IPAM: Driver string, Options map[string]string, Config []network.IPAMConfig
network.IPAMConfig: Subnet string, IPRange string, Gateway string, AuxAddress=AuxiliaryAddresses
  map[string]string
network.ConfigReference: Network string
network.EndpointResource: Name string, EndpointID string, MacAddress string, IPv4Address string, IPv6Address
  string
"""

_FIELD = re.compile(r"(\w+)(?:=(\w+))?\s+([^,\s]+)")
_ZERO: Mapping[str, Any] = {"string": "", "bool": False, "float64": 0.0, "any": None, "struct{}": None}


class Duration(int):
    """A ``time.Duration``: nanoseconds, printed as ``1m30s``."""

    type = "time.Duration"

    def __str__(self) -> str:
        whole, below = divmod(abs(int(self)), 10**9)
        sign = "-" if self < 0 else ""
        if whole or not below:
            minutes, seconds = divmod(whole, 60)
            hours, minutes = divmod(minutes, 60)
            longer = f"{hours}h" * bool(hours) + f"{minutes}m" * bool(hours or minutes)
            return f"{sign}{longer}{_decimal(seconds * 10**9 + below, 9)}s"
        unit, digits = ("ms", 6) if below >= 10**6 else ("µs", 3) if below >= 1000 else ("ns", 0)
        return f"{sign}{_decimal(below, digits)}{unit}"


def _decimal(number: int, digits: int) -> str:
    """Return a number with so many digits after its point, without zeros at the end."""
    whole, rest = divmod(number, 10**digits)
    fraction = f"{rest:0{digits}d}".rstrip("0") if digits else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


def typed(document: Mapping[str, Any], type: str) -> Struct:
    """Return a JSON document as the Go struct that the docker client reads it into.

    Fields that are not Docker's are there, too, but only in its JSON.

    :param type: ``container.InspectResponse``, ``image.InspectResponse``, ``volume.Volume``, ``network.Inspect``.
    """
    struct = _Types().value(document, type)
    assert isinstance(struct, Struct)
    return struct


class _Types:
    def __init__(self) -> None:
        blocks = re.split(r"\n(?=\S)", _TYPES.strip())
        self._structs = {
            name: _FIELD.findall(rest) for name, _, rest in (block.partition(": ") for block in blocks)
        }

    def value(self, value: Any, type: str) -> Any:
        """Return a JSON value with a type."""
        if type.startswith("*"):
            return Nil(type) if value is None else self._pointed(value, type[1:])
        if type.startswith("["):
            element = type.partition("]")[2]
            items = None if value is None else [self.value(item, element) for item in value]
            return Slice(items, type.replace("any", "interface {}"))
        if type.startswith("map["):
            return self._map(value, type)
        if type in self._structs:
            return self._struct(value or {}, type, pointer=False)
        if type == "time.Time":
            return _time(value or "0001-01-01T00:00:00Z")
        if type == "time.Duration":
            return Duration(value or 0)
        if type == "struct{}":
            return Struct("struct {}", {}, pointer=False)
        return _ZERO.get(type, 0) if value is None else value

    def _pointed(self, value: Any, type: str) -> Any:
        return self._struct(value, type, pointer=True) if type in self._structs else self.value(value, type)

    def _map(self, value: Any, type: str) -> Map:
        element = type.partition("]")[2]
        items = None if value is None else {key: self.value(item, element) for key, item in value.items()}
        return Map(items, type.replace("any", "interface {}"), zero=self.value(None, element))

    def _struct(self, document: Mapping[str, Any], type: str, *, pointer: bool) -> Struct:
        fields, names = {}, {}
        for name, json_name, field_type in self._structs[type]:
            fields[name] = self.value(document.get(json_name or name), field_type)
            names[json_name or name] = name
        json = {key: fields[names[key]] if key in names else value for key, value in document.items()}
        return Struct(type, fields, json=json, pointer=pointer, text=_TEXTS.get(type))


_TEXTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "container.Ulimit": lambda ulimit: f"{ulimit['Name']}={ulimit['Soft']}:{ulimit['Hard']}",
}


def _time(text: str) -> Time:
    """Read a time of RFC 3339 as Go's time.Time prints it: in UTC, its fraction without zeros at the end."""
    date, _, clock = text.removesuffix("Z").partition("T")
    clock, _, fraction = clock.partition(".")
    fraction = fraction.rstrip("0")
    value = Time(f"{date} {clock}{'.' if fraction else ''}{fraction} +0000 UTC")
    value.rfc3339 = text
    return value
