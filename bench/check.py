"""How long `tunelab check` takes: one config in a fresh process, and each further one of many in the same call; and its memory.

Usage: python bench/check.py [FOLDER]    (all *.yml and *.yaml below it; without one, 252 starters are written to a temporary folder)
The ratio at the end compares the two in one run; seconds depend on the machine.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

_MANY = """
import resource, sys, time
begin = time.perf_counter()
from tunelab.facts.machine import read_machine
from tunelab.workflow.check import check
paths = sys.argv[1:]
from tunelab.errors import TunelabError
machine = read_machine()
def take(path):
    try:
        check(path, machine=machine)
    except TunelabError:
        pass
take(paths[0]); first = time.perf_counter()
for path in paths[1:]:
    take(path)
last = time.perf_counter()
print(f'{{"first": {first - begin}, "rest": {(last - first) / max(1, len(paths) - 1)}, "files": {len(paths)}, '
      f'"mb": {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}}}')
"""


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(sys.argv[1]) if len(sys.argv) > 1 else _starters(Path(folder))
        paths = sorted(str(path) for path in root.rglob("*.y*ml"))
        told = json.loads(subprocess.run([sys.executable, "-c", _MANY, *paths], check=True, capture_output=True, text=True).stdout)
    print(f"first config, imports included: {told['first']:.3f} s")
    print(f"each further one of {told['files']}: {1000 * told['rest']:.2f} ms; peak memory {told['mb']:.0f} MB")
    print(f"ratio first : further = {told['first'] / told['rest']:.0f}")


def _starters(folder: Path) -> Path:
    from tunelab.planning.starter import Hardware, Method, starter

    kinds = itertools.islice(itertools.cycle(itertools.product(Method, Hardware)), 252)
    for number, (method, hardware) in enumerate(kinds):
        (folder / f"{number:03}.yml").write_text(starter(f"org/model-{number}", method, hardware, "rows.jsonl", "out"), encoding="utf-8")
    return folder


if __name__ == "__main__":
    main()
