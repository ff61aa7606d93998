"""From files to packs: rows and tokens a second, peak memory, how full packed rows are, and the ratio to Axolotl's own preparation.

Usage: python bench/data.py [ROWS.jsonl] [--peer PYTHON] [--model FOLDER] [--rows N]
ROWS.jsonl holds ShareGPT conversations (`conversations` of `from` and `value`); without it some are made up. PYTHON is one that can import
axolotl: it prepares the same rows with the same tokenizer and the tokenizer's own template, three times in turn with ours, and the tokens
are compared. Time it alone: the ratio of two things that share the machine with a third says little.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

SEQUENCE_LEN = 2048
CAPACITIES = (1024, 2048, 4096, 8192)
ROUNDS = 3

_OURS = """
import json, resource, sys, time
from pathlib import Path
from tunelab.config import read_config
from tunelab.data.packing import fewest_rows, pack
from tunelab.data.prepare import prepare
from tunelab.data.tokenizer import load_tokenizer
config, model, capacities = read_config(Path(sys.argv[1])).config_or_raise(), Path(sys.argv[2]), json.loads(sys.argv[3])
begin = time.perf_counter()
prepared = prepare(config, load_tokenizer(model))
lengths = prepared.train.lengths().tolist()
rows = pack(lengths, config.data.sequence_len, 42, 0)
seconds = time.perf_counter() - begin
status = Path("/proc/self/status")  # ru_maxrss would count the parent's memory from before exec
peak = (int(status.read_text().split("VmHWM:")[1].split()[0]) if status.exists() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024
fill = {}
for capacity in capacities:
    some = [length for length in lengths if length <= capacity]
    begin = time.perf_counter()
    packed = len(pack(some, capacity, 42, 0))
    fill[capacity] = [packed, -(-sum(some) // capacity), fewest_rows(some, capacity), time.perf_counter() - begin]
supervised = sum(prepared.train.supervised().tolist())
print(json.dumps({"seconds": seconds, "read": prepared.counts.read, "rows": len(lengths), "tokens": sum(lengths), "supervised": supervised,
                  "peak": peak, "fill": fill}))
"""

_PEER = """
import json, os, sys, tempfile, time
os.environ.update(AXOLOTL_DO_NOT_TRACK="1", HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="", TOKENIZERS_PARALLELISM="false",
                  AXOLOTL_IS_PREPROCESS="1", HF_DATASETS_CACHE=tempfile.mkdtemp())

def main():
    from axolotl.utils.data.sft import prepare_datasets
    from axolotl.utils.dict import DictDefault
    from transformers import AutoTokenizer
    rows, model, length = sys.argv[1], sys.argv[2], int(sys.argv[3])
    dataset = {"path": rows, "ds_type": "json", "type": "chat_template", "field_messages": "conversations",
               "message_property_mappings": {"role": "from", "content": "value"}}
    config = DictDefault({
        "datasets": [dataset], "sequence_len": length, "sample_packing": True, "seed": 42, "shuffle_merged_datasets": True, "val_set_size": 0,
        "dataset_num_proc": os.cpu_count(), "dataset_prepared_path": tempfile.mkdtemp(), "is_preprocess": True, "num_epochs": 1,
        "chat_template": "tokenizer_default"})
    tokenizer = AutoTokenizer.from_pretrained(model)
    begin = time.perf_counter()
    train = prepare_datasets(config, tokenizer)[0]
    seconds = time.perf_counter() - begin
    labels = train["labels"]
    print(json.dumps({"seconds": seconds, "rows": len(train), "tokens": sum(map(len, labels)),
                      "supervised": sum(label != -100 for row in labels for label in row[1:])}))

if __name__ == "__main__":
    main()
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows_file", nargs="?", type=Path)
    parser.add_argument("--peer", help="a Python that can import axolotl")
    parser.add_argument("--model", type=Path, help="a folder with a tokenizer; the embedded model's when left out")
    parser.add_argument("--rows", type=int, default=10**9)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = asked.model or _tokenizer(folder / "model")
        rows = _rows(asked.rows_file, folder / "rows.jsonl", asked.rows)
        config = _config(folder / "config.yml", rows)
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(_run([sys.executable, "-c", _OURS, str(config), str(model), json.dumps(CAPACITIES)]))
            if asked.peer:
                script = folder / "peer.py"  # a file, because its processes import it again
                script.write_text(_PEER, encoding="utf-8")
                theirs.append(_run([asked.peer, str(script), str(rows), str(model), str(SEQUENCE_LEN)]))
        _tell(ours, theirs)


def _tell(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    seconds, first = statistics.median(one["seconds"] for one in ours), ours[0]
    print(f"{first['read']} rows in {seconds:.2f} s: {first['read'] / seconds:.0f} rows/s; {first['rows']} kept with {first['tokens']} tokens; "
          f"peak memory {max(one['peak'] for one in ours):.0f} MB")
    for capacity, (packed, by_tokens, bound, took) in first["fill"].items():
        print(f"packed to {capacity}: {packed} rows, {by_tokens} would hold all tokens ({by_tokens / packed:.2%}), no packing has fewer than "
              f"{bound} ({bound / packed:.2%}); {took:.2f} s")
    if not theirs:
        return
    same = all(one[key] == first[key] for one in theirs for key in ("rows", "tokens", "supervised"))
    ratios = [their["seconds"] / our["seconds"] for our, their in zip(ours, theirs, strict=True)]
    print(f"Axolotl: {statistics.median(one['seconds'] for one in theirs):.2f} s; the same rows, tokens and labels: {'yes' if same else 'NO'}")
    print(f"ratio of each round: {', '.join(f'{ratio:.1f}' for ratio in ratios)}; median {statistics.median(ratios):.1f}")


def _run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
                          if command[0] == sys.executable else None)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def _rows(source: Path | None, target: Path, most: int) -> Path:
    """The rows with at least one message: an empty conversation ends Axolotl's preparation."""
    with target.open("w", encoding="utf-8") as out:
        if source is None:
            out.writelines(_made_up(random.Random(0)) for _ in range(min(most, 5000)))
        else:
            with source.open(encoding="utf-8") as lines:
                out.writelines(islice((line for line in lines if json.loads(line)["conversations"]), most))
    return target


def _made_up(draw: random.Random) -> str:
    def text(most: int) -> str:
        return " ".join("".join(draw.choices("etaoinshrdlu", k=draw.randint(1, 9))) for _ in range(draw.randint(1, most)))

    turns = [{"from": who, "value": text(300)} for _ in range(draw.randint(1, 6)) for who in ("human", "gpt")]
    return json.dumps({"conversations": turns}) + "\n"


def _config(path: Path, rows: Path) -> Path:
    dataset = {"path": str(rows), "type": "chat_template", "field_messages": "conversations",
               "message_property_mappings": {"role": "from", "content": "value"}}
    path.write_text(json.dumps({"base_model": "model", "learning_rate": 1e-4, "micro_batch_size": 1, "sequence_len": SEQUENCE_LEN,
                                "sample_packing": True, "datasets": [dataset]}), encoding="utf-8")
    return path


def _tokenizer(folder: Path) -> Path:
    """The embedded model's tokenizer in an ordinary folder."""
    from transformers import AutoTokenizer

    from tunelab.training.embedded import embedded_gguf

    gguf = embedded_gguf()
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
