"""How much memory this process has used at most since it was last asked to forget."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

import torch


def reset_peak() -> None:
    """Begin a new peak, where the system can (Linux, CUDA); elsewhere the peak is that of the whole process."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets the peak resident set size


def peak_memory_bytes() -> int:
    """Peak resident memory of this process in bytes; on CUDA the peak that torch has reserved there, which is what limits."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii", errors="replace"))):
        return int(found.group(1)) * 1024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
