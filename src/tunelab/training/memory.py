"""How much memory this process has used at most since it was last asked to forget, and what to say when there is not enough."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from tunelab.config import Config
from tunelab.errors import RunError


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


@contextlib.contextmanager
def naming_what_to_lower(config: Config, tokens: int, held_out: bool) -> Iterator[None]:
    """Turn running out of memory inside the block, on a batch of so many tokens, into a RunError with the setting to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        settings, checkpointing = config.optimisation, config.hardware.gradient_checkpointing
        if held_out:
            size = settings.eval_batch_size or settings.micro_batch_size
            lower = f"eval_batch_size: {size // 2}" if size > 1 else f"eval_sequence_len: {tokens // 2}"
        elif not checkpointing:
            lower = "gradient_checkpointing: true"
        else:
            size = settings.micro_batch_size
            lower = f"micro_batch_size: {size // 2} and gradient_accumulation_steps: {settings.gradient_accumulation_steps * 2}" if size > 1 else \
                f"sequence_len: {max(1, config.data.sequence_len // 2)}"
        batch = f"the largest {'evaluation' if held_out else 'training'} batch ({tokens:,} tokens)"
        raise RunError(f"Memory ran out on {batch}.", next_step=f"Write {lower}; `tunelab plan` says what fits.") from error


def _is_out_of_memory(error: Exception) -> bool:
    """torch has a class of its own for CUDA; on a CPU it is a RuntimeError of its allocator."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
