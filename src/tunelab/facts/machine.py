"""`read_machine`: what this computer has, asked without torch: cores, memory, disk, GPUs, and whether 16-bit numbers are fast."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# CPU flags of instructions that multiply bfloat16 matrices (Linux names in /proc/cpuinfo: x86, then Arm).
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
# The CUDA compute capability (Ampere) from which bfloat16 and TF32 exist in hardware.
_AMPERE = 8.0
_NVIDIA_SMI_SECONDS = 3.0
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One CUDA device. `capability` is NVIDIA's compute capability (8.0 is Ampere), 0 when it was not told."""

    name: str
    memory_bytes: int
    capability: float = 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    """This computer. `memory_*` are bytes of main memory that this process may use (a container's limit counts), 0 when unknown.

    `bf16_fast`: bfloat16 products run at least as fast as 32-bit ones, on the GPU where there is one, else on the CPU.
    """

    system: str
    cores: int
    memory_bytes: int
    memory_free_bytes: int
    gpus: tuple[Gpu, ...] = ()
    bf16_fast: bool = False
    cpu_name: str = ""

    @property
    def has_cuda(self) -> bool:
        """Whether training runs on an NVIDIA GPU here."""
        return bool(self.gpus)

    @property
    def device_memory_bytes(self) -> int:
        """Memory of the device that trains: the first GPU's, else main memory."""
        return self.gpus[0].memory_bytes if self.gpus else self.memory_bytes

    @property
    def device_name(self) -> str:
        """The device that trains, in words."""
        return self.gpus[0].name if self.gpus else (self.cpu_name or "CPU")

    def disk_free_bytes(self, folder: Path | str) -> int:
        """Free bytes on the disk that holds `folder` (which need not exist yet); 0 when it cannot be told."""
        place = Path(folder).expanduser().absolute()
        while not place.exists() and place != place.parent:
            place = place.parent
        try:
            return shutil.disk_usage(place).free
        except OSError:
            return 0


def read_machine() -> Machine:
    """Look at this computer. Never raises: what cannot be told is 0, False or empty."""
    gpus = _gpus()
    name, flags = _cpu()
    total, free = _memory()
    bf16 = gpus[0].capability >= _AMPERE if gpus else bool(flags & _BF16_FLAGS)
    return Machine(platform.system(), _cores(), total, free, gpus, bf16, name)


def _cores() -> int:
    """Cores this process may run on, not those that are built in."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> tuple[str, frozenset[str]]:
    """(name, instruction flags) of the CPU; no flags where the system does not list them in a file."""
    text = _text(Path("/proc/cpuinfo"))
    name, flags = "", frozenset[str]()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and not name:
            name = value.strip()
        elif key.strip().lower() in {"flags", "features"} and not flags:
            flags = frozenset(value.split())
    if not name and sys.platform == "darwin":
        name = _output(["sysctl", "-n", "machdep.cpu.brand_string"])
    return name or os.environ.get("PROCESSOR_IDENTIFIER", "") or platform.machine(), flags


def _memory() -> tuple[int, int]:
    """(total, free) bytes, not above the limit of the container that this process is in."""
    readers: dict[str, Callable[[], tuple[int, int]]] = {"linux": _linux_memory, "darwin": _mac_memory, "win32": _windows_memory}
    try:
        total, free = readers.get(sys.platform, _posix_memory)()
    except (OSError, ValueError, AttributeError):
        return 0, 0
    limit = _container_limit()
    if limit is not None and limit[0] < total:
        return limit[0], min(free, max(0, limit[0] - limit[1]))
    return total, free


def _linux_memory() -> tuple[int, int]:
    found = {}
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        found[key] = int(value.split()[0]) * 1024
    return found["MemTotal"], found.get("MemAvailable", found.get("MemFree", 0))


def _posix_memory() -> tuple[int, int]:
    page = os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * page
    try:
        return total, os.sysconf("SC_AVPHYS_PAGES") * page
    except ValueError:
        return total, total


def _mac_memory() -> tuple[int, int]:
    """macOS has no count of available pages in sysconf: free, inactive and speculative pages of vm_stat stand in for it."""
    total = int(_output(["sysctl", "-n", "hw.memsize"]) or 0)
    lines = _output(["vm_stat"]).splitlines()
    page = next((int(word) for line in lines[:1] for word in line.split() if word.isdigit()), 4096)
    counted = ("Pages free", "Pages inactive", "Pages speculative")
    free = sum(int(line.rsplit(maxsplit=1)[-1].rstrip(".")) * page for line in lines if line.startswith(counted))
    return total, free or total


def _windows_memory() -> tuple[int, int]:
    import ctypes

    class Status(ctypes.Structure):
        """MEMORYSTATUSEX of the Windows API (GlobalMemoryStatusEx)."""

        _fields_ = (("dwLength", ctypes.c_ulong), ("dwMemoryLoad", ctypes.c_ulong), ("ullTotalPhys", ctypes.c_ulonglong),
                    ("ullAvailPhys", ctypes.c_ulonglong), ("rest", ctypes.c_ulonglong * 5))

    status = Status()
    status.dwLength = ctypes.sizeof(Status)
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined,unused-ignore]
    return int(status.ullTotalPhys), int(status.ullAvailPhys)


def _container_limit() -> tuple[int, int] | None:
    """(limit, used) bytes of this process's cgroup, version 2 then 1; None when there is none."""
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        text = _text(Path("/sys/fs/cgroup") / limit).strip()
        if text.isdigit():
            taken = _text(Path("/sys/fs/cgroup") / used).strip()
            return int(text), int(taken) if taken.isdigit() else 0
    return None


def _gpus() -> tuple[Gpu, ...]:
    """The CUDA devices that nvidia-smi lists, less those that CUDA_VISIBLE_DEVICES hides."""
    binary = shutil.which("nvidia-smi")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if binary is None or (visible is not None and visible.strip() in {"", "-1"}):
        return ()
    found = parse_gpus(_output([binary, "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader"]))
    if visible is None:
        return found
    indices = [int(part) for part in visible.split(",") if part.strip().isdigit()]
    return tuple(found[index] for index in indices if index < len(found)) if indices else found


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """nvidia-smi's CSV ("NVIDIA A10, 23028 MiB, 8.6" a line) as devices; lines that are not that are left out."""
    gpus = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.rsplit(",", 2)]
        if len(parts) != 3:
            continue
        try:
            gpus.append(Gpu(parts[0], int(float(parts[1].split()[0])) * _MIB, float(parts[2])))
        except (ValueError, IndexError):
            continue
    return tuple(gpus)


def _output(command: list[str]) -> str:
    """What a small command prints; empty when it is missing, fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_NVIDIA_SMI_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
