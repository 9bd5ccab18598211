"""The machine a program runs on: its architecture, its processor's features, and how many threads to use.

In: what the system says (/proc, /sys, affinity, control groups). Out: plain values; unknown is None or a conservative 1.
Nothing is cached: affinity and quotas change while a process lives.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from .. import config
from ..errors import CallError

# Names of architectures in triples -> as `platform.machine` says them.
_MACHINES = {"x86_64": ("x86_64", "amd64"), "aarch64": ("aarch64", "arm64"), "arm64": ("aarch64", "arm64")}

# LLVM's names of x86 features that generated code may use -> Linux's, where they differ.
_X86 = {
    name: name.replace(".", "_").replace("-", "_")
    for name in (
        "cx16 sse3 ssse3 sse4.1 sse4.2 popcnt avx avx2 fma f16c bmi bmi2 lzcnt movbe avx512f avx512bw avx512cd avx512dq "
        "avx512vl avx512vnni avx512bf16 avx512fp16 avx512ifma avx512vbmi avx512vbmi2 avx512bitalg avx512vpopcntdq "
        "avxvnni amx-tile amx-bf16 amx-int8 amx-fp16 gfni vaes vpclmulqdq adx"
    ).split()
} | {
    "sse3": "pni", "bmi": "bmi1", "lzcnt": "abm", "avxvnni": "avx_vnni", "avx512vnni": "avx512_vnni",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16", "avx512vbmi2": "avx512_vbmi2", "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
}  # fmt: skip
_ARM = {
    "neon": "asimd",
    "fullfp16": "asimdhp",
    "dotprod": "asimddp",
    "sve": "sve",
    "sve2": "sve2",
    "bf16": "bf16",
    "i8mm": "i8mm",
}
_KNOWN = {"x86_64": _X86, "aarch64": _ARM, "arm64": _ARM}

_V2 = ("cx16", "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt")
_V3 = (*_V2, "avx", "avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe")
_LEVELS = {"x86-64-v2": _V2, "x86-64-v3": _V3, "x86-64-v4": (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")}


def required_features(triple: str, cpu: str, features: str) -> tuple[str, ...]:
    """Of what a compiler was told to use, the features that code may depend on, sorted."""
    switched = {part[1:]: part[0] == "+" for part in features.split(",") if part}
    wanted = {name for name, on in switched.items() if on} | set(_LEVELS.get(cpu, ()))
    return tuple(sorted(name for name in wanted if name in _KNOWN.get(architecture(triple), {}) and switched.get(name, True)))


def architecture(triple: str) -> str:
    """The first part of a triple."""
    return triple.split("-", 1)[0]


def runs(triple: str) -> bool:
    """Whether this machine and system execute code for `triple`."""
    machine = platform.machine().lower()
    if machine not in _MACHINES.get(architecture(triple), (architecture(triple),)):
        return False
    system = platform.system().lower()
    names = {"darwin": ("darwin", "macos", "apple"), "windows": ("windows",)}.get(system, (system,))
    return any(name in triple for name in names)


def missing_features(triple: str, features: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `features` that this processor lacks; none where the system does not tell."""
    present = cpu_flags()
    if present is None:
        return ()
    names = _KNOWN.get(architecture(triple), {})
    return tuple(name for name in features if names.get(name, name) not in present)


def cpu_flags(path: str = "/proc/cpuinfo") -> frozenset[str] | None:
    """What Linux says the first processor can do, or None."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            return frozenset(value.split())
    return None


def cpu_name(path: str = "/proc/cpuinfo") -> str:
    """The processor's name for people, or the architecture."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def thread_count(wanted: int | None = None, default: int | None = None) -> int:
    """Threads to use: `wanted`, else GRAPHC_THREADS, else `default`, else the processors this process may run on."""
    if wanted is not None and (not isinstance(wanted, int) or wanted < 1):
        raise CallError(f"threads={wanted!r}: expected at least 1, or None for GRAPHC_THREADS or the machine to decide")
    return wanted or config.threads() or default or max(1, min(_affinity(), quota() or 1 << 30))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> int | None:
    """Processors that the control group grants, rounded up; None without a limit. The tightest group above us counts."""
    found = [limit for folder in _groups(root, own) if (limit := _limit(folder)) is not None]
    return min(found) if found else None


def _groups(root: str, own: str) -> list[Path]:
    """The folders of our control groups and of those above them, version 2 and version 1."""
    try:
        lines = Path(own).read_text().splitlines()
    except OSError:
        lines = []
    folders = [Path(root), Path(root, "cpu"), Path(root, "cpu,cpuacct")]
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers not in ("", "cpu", "cpu,cpuacct"):
            continue
        folder = Path(root, controllers)
        for part in Path(path.lstrip("/")).parts:
            folder = folder / part
            folders.append(folder)
    return folders


def _limit(folder: Path) -> int | None:
    try:
        both = (folder / "cpu.max").read_text().split()
    except OSError:
        try:
            both = [(folder / f"cpu.cfs_{part}_us").read_text().strip() for part in ("quota", "period")]
        except OSError:
            return None
    try:
        share, period = int(both[0]), int(both[1])
    except (ValueError, IndexError):  # "max": no limit
        return None
    return max(1, -(-share // period)) if share > 0 and period > 0 else None
