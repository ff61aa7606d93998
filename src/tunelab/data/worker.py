"""The program that a tokenising process runs: `python -m tunelab.data.worker`, talking through its pipes (see workers)."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Serve until the pipe is closed."""
    from tunelab.data.workers import serve

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends this process
    target = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing that a library prints may get among the answers
    serve(sys.stdin.buffer, target)


if __name__ == "__main__":
    main()
