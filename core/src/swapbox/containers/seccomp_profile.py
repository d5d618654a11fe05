"""The default seccomp policy, equal to Docker's, and profiles in Docker's file format.

Docker's policy is an allow list: what it does not name fails with EPERM, so that a new system call is shut until
it has been looked at. Some calls are let through only with a capability, some only with harmless arguments. The
result is the ``linux.seccomp`` object of the OCI runtime spec 1.1. It is made anew for each container, so the
names are kept in a few long strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from swapbox.errors import InvalidInput

_EPERM = 1
_ENOSYS = 38

_ALLOWED = """
    _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
    chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
    fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
    flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
    ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list
    get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32
    getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
    getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
    getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel
    io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set
    ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link
    linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise
    map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2
    mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
    mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall
    munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe
    pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64
    process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev
    pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg
    remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir
    rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
    sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget
    semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list
    set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
    setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32
    setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt
    shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat
    stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time
    timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate
    truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork
    vmsplice wait4 waitid waitpid write writev
"""

_WITH_CAPABILITY: Mapping[str, str] = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
        lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
        quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}

_ON_ARCHITECTURE: Mapping[str, str] = {
    "amd64": "arch_prctl modify_ldt",
    "386": "modify_ldt",
    "arm64": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    "arm": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    "ppc64le": "swapcontext sync_file_range2",
    "riscv64": "riscv_flush_icache",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
}

# The kernel runs a host's calls and those of the 32-bit ABIs it can also serve; each has numbers of its own.
_ABIS: Mapping[str, str] = {
    "amd64": "X86_64 X86 X32",
    "386": "X86",
    "arm64": "AARCH64 ARM",
    "arm": "ARM",
    "ppc64le": "PPC64LE",
    "riscv64": "RISCV64",
    "s390x": "S390X S390",
    "loong64": "LOONGARCH64",
}

_MACHINES: Mapping[str, str] = {
    "x86_64": "amd64",
    "i686": "386",
    "aarch64": "arm64",
    "armv7l": "arm",
    "loongarch64": "loong64",
}

# AF_ALG opens the kernel's crypto to anybody; AF_VSOCK reaches virtual machines and is in no network namespace.
_SOCKET_FAMILIES = (("SCMP_CMP_LT", 38), ("SCMP_CMP_EQ", 39), ("SCMP_CMP_GT", 40))

# Linux, Linux of 32 bits, the same with a uname of 2.6, and the question what is set.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

# clone(2) may make no namespace: the flags CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET} must all be 0.
_NAMESPACE_FLAGS = 0x7E020000

Rule = dict[str, Any]


def default_profile(capabilities: frozenset[str], arch: str) -> dict[str, Any]:
    """Return Docker's policy for a process that may use ``capabilities`` (``CAP_...``).

    :param arch: an OCI architecture (``amd64``) or a machine name of uname(2) (``x86_64``).
    """
    arch = _MACHINES.get(arch, arch)
    names = [_ALLOWED, _ON_ARCHITECTURE.get(arch, "")]
    names += [calls for name, calls in _WITH_CAPABILITY.items() if name in capabilities]
    rules = [_rule(sorted(set(" ".join(names).split())))]
    rules += [_rule(["socket"], _argument(0, family, op)) for op, family in _SOCKET_FAMILIES]
    rules += [_rule(["personality"], _argument(0, value, "SCMP_CMP_EQ")) for value in _PERSONALITIES]
    if "CAP_SYS_ADMIN" not in capabilities:
        flags = {**_argument(1 if arch == "s390x" else 0, _NAMESPACE_FLAGS, "SCMP_CMP_MASKED_EQ"), "valueTwo": 0}
        rules.append(_rule(["clone"], flags))
        # A filter cannot look into clone3's struct. ENOSYS makes libc fall back to clone.
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": [f"SCMP_ARCH_{abi}" for abi in _ABIS.get(arch, "").split()],
        "syscalls": rules,
    }


def _rule(names: list[str], *arguments: Rule) -> Rule:
    rule: Rule = {"names": names, "action": "SCMP_ACT_ALLOW"}
    return {**rule, "args": list(arguments)} if arguments else rule


def _argument(index: int, value: int, op: str) -> Rule:
    return {"index": index, "value": value, "op": op}


def custom_profile(profile: object, capabilities: frozenset[str], arch: str) -> dict[str, Any]:
    """Turn a profile file, in Docker's format or OCI's, into ``linux.seccomp`` for one container.

    Docker's format adds to OCI's ``archMap`` and, per rule, ``includes`` and ``excludes`` with ``caps``,
    ``arches`` and ``minKernel``.

    :raises InvalidInput: the file is not a profile.
    """
    if not isinstance(profile, dict):
        raise InvalidInput("invalid seccomp profile: not a JSON object")
    if profile.get("architectures") and profile.get("archMap"):
        both = "both 'architectures' and 'archMap' are specified"
        raise InvalidInput(f"{both} in the seccomp profile, use either 'architectures' or 'archMap'")
    arch = _MACHINES.get(arch, arch)
    kept = ("defaultAction", "defaultErrnoRet", "flags", "listenerPath", "listenerMetadata")
    result = {name: profile[name] for name in kept if name in profile}
    try:
        result["architectures"] = profile.get("architectures") or list(_mapped(profile.get("archMap"), arch))
        rules = profile.get("syscalls") or []
        result["syscalls"] = [_plain(rule) for rule in rules if _applies(rule, capabilities, arch)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"invalid seccomp profile: {error!r}") from None
    if "defaultAction" not in result:
        raise InvalidInput("invalid seccomp profile: defaultAction is missing")
    return result


def _mapped(arch_map: Iterable[Mapping[str, Any]] | None, arch: str) -> Iterator[str]:
    native = f"SCMP_ARCH_{_ABIS.get(arch, '').partition(' ')[0]}"
    for entry in arch_map or ():
        if entry["architecture"] == native:
            yield native
            yield from entry.get("subArchitectures") or ()


def _plain(rule: Mapping[str, Any]) -> Rule:
    names = list(rule.get("names") or ())
    if rule.get("name"):
        if names:
            raise InvalidInput("'names' and 'name' are both specified in the seccomp profile, use one of them")
        names = [rule["name"]]
    result = {"names": names, "action": rule["action"]}
    return {**result, **{key: rule[key] for key in ("errnoRet", "args") if rule.get(key)}}


def _applies(rule: Mapping[str, Any], capabilities: frozenset[str], arch: str) -> bool:
    """Say whether a rule holds: every set in ``includes`` must match, none in ``excludes`` may."""
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if (arches := includes.get("arches")) and arch not in arches:
        return False
    if arch in (excludes.get("arches") or ()):
        return False
    if not capabilities.issuperset(includes.get("caps") or ()):
        return False
    if not capabilities.isdisjoint(excludes.get("caps") or ()):
        return False
    return _kernel_at_least(includes.get("minKernel")) and not (
        excludes.get("minKernel") and _kernel_at_least(excludes["minKernel"])
    )


def _kernel_at_least(version: str | None) -> bool:
    if not version:
        return True
    from os import uname

    release = uname().release.replace("-", ".").split(".")
    return (int(release[0]), int(release[1])) >= tuple(map(int, version.split(".")))
