"""How long `tunelab hub find --from DUMP` takes over a statistics dump of the Hub's size, and how that compares with reading all of its columns.

Usage: python bench/dump.py [ROWS] [FILE]     (2,500,000 rows; FILE is kept and used again, without it a temporary one is made)
The rows are made up, with the Hub's columns, types and skews: half have no pipeline tag, downloads fall as a power of the rank.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from tunelab.hub.dump import in_dump
from tunelab.hub.find import Wish
from tunelab.hub.tasks import find_task

_MACROS = """
CREATE MACRO part(i, k) AS hash(i * 100 + k) / 18446744073709551616.0 + 1e-9;
CREATE MACRO pick(among, i, k) AS among[CAST(1 + hash(i * 100 + k) % len(among) AS BIGINT)];
"""
"""Of a row a part of one, and one of several, as good as random and the same each time."""
_ROWS = """
SELECT
    lower(hex(hash(i)))[:24] AS _id,
    author || '/' || stem || '-' || word || '-' || i AS id,
    author,
    CASE WHEN r1 < 0.45 THEN '{"license":"' || licence || '","base_model":"' || base || '","widget":[{"text":"' || repeat('x', 200) || '"}]}' END
        AS cardData,
    false AS disabled,
    CASE WHEN r2 < 0.01 THEN 'auto' ELSE 'false' END AS gated,
    TIMESTAMP '2026-11-01' - INTERVAL (CAST(1500 * r3 AS INTEGER)) DAY AS lastModified,
    TIMESTAMP '2026-10-01' - INTERVAL (CAST(1600 * r3 AS INTEGER)) DAY AS createdAt,
    CAST(2 * pow(r4, -0.55) - 2 AS BIGINT) AS likes,
    CAST(4 * pow(r5, -1.05) - 3 AS BIGINT) AS downloads,
    CAST(0.4 * pow(r4, -0.5) AS BIGINT) AS trendingScore,
    false AS private,
    md5(CAST(i AS VARCHAR)) AS sha,
    list_filter([lib, 'safetensors', family, CASE WHEN r6 < 0.25 THEN word END, CASE WHEN r1 < 0.45 THEN 'license:' || licence END,
        CASE WHEN r2 < 0.35 THEN 'base_model:' || base END, CASE WHEN r2 < 0.35 THEN 'base_model:' || relation || ':' || base END, 'region:us',
        CASE WHEN r6 > 0.8 THEN 'gguf' END, 'en', CASE WHEN r3 < 0.2 THEN 'dataset:org/data-' || (i % 9000) END], lambda one: one IS NOT NULL) AS tags,
    CASE WHEN r1 < 0.5 THEN pipeline END AS pipeline_tag,
    lib AS library_name,
    CASE WHEN r4 < 0.6 THEN {'parameters': map {'BF16': size}, 'total': size} END AS safetensors,
    CASE WHEN r2 < 0.35 THEN {'relation': relation, 'models': [{'_id': '0', 'id': base}]} END AS baseModels,
    [{'rfilename': 'README.md'}, {'rfilename': 'config.json'}, {'rfilename': 'model.safetensors'}] AS siblings
FROM (
    SELECT i, part(i, 1) AS r1, part(i, 2) AS r2, part(i, 3) AS r3, part(i, 4) AS r4, part(i, 5) AS r5, part(i, 6) AS r6,
        'author' || (hash(i * 100 + 7) % 400000) AS author,
        pick(['bert-base', 'distilbert', 'llama-3-8b', 'mistral-7b', 'gemma-2-2b', 'qwen2-7b', 't5-small', 'whisper', 'vit', 'sd-lora'], i, 8) AS stem,
        pick(['finetuned', 'chat', 'instruct', 'code', 'summarization', 'sentiment', 'ner', 'gguf', 'lora', 'translation', 'v2', 'dpo', 'test',
              'emotion'], i, 9) AS word,
        pick(['text-generation', 'text-classification', 'text-to-image', 'token-classification', 'summarization', 'translation', 'reinforcement-learning',
         'automatic-speech-recognition', 'image-classification', 'fill-mask', 'feature-extraction', 'question-answering'], i, 10) AS pipeline,
        pick(['transformers', 'diffusers', 'peft', 'sentence-transformers', 'gguf', 'stable-baselines3'], i, 11) AS lib,
        pick(['llama', 'bert', 'mistral', 'gemma2', 'qwen2', 't5'], i, 12) AS family,
        pick(['apache-2.0', 'mit', 'llama3', 'cc-by-nc-4.0', 'openrail', 'other'], i, 13) AS licence,
        pick(['org/base-' || (hash(i * 100 + 14) % 3000), 'meta-llama/Meta-Llama-3-8B', 'mistralai/Mistral-7B-v0.1',
              'google-bert/bert-base-uncased'], i, 15) AS base,
        pick(['finetune', 'adapter', 'quantized', 'merge'], i, 16) AS relation,
        pick([66000000, 110000000, 1240000000, 7240000000, 8030000000, 2610000000], i, 17) AS size
    FROM range($rows) AS numbers(i))
"""


_WISHES = {
    "summarization": Wish(find_task("summarization")), "sentiment, 7B at most": Wish(find_task("sentiment"), max_parameters=7 * 10**9),
    "code, apache-2.0": Wish(find_task("code-generation"), licence="apache-2.0"),
    "chat on Mistral": Wish(find_task("chat"), base="mistralai/Mistral-7B-v0.1"), "base only, by likes": Wish(base="org/base-7", sort="likes")}


def main() -> None:
    """Measure and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 2_500_000
    with tempfile.TemporaryDirectory() as folder:
        file = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(folder) / "models.parquet"
        if not file.exists():
            write_dump(file, rows)
        print(f"{rows:,} rows, {file.stat().st_size / 1e6:,.0f} MB")
        for text, wish in _WISHES.items():
            times = []
            for _ in range(3):
                begin = time.perf_counter()
                found = in_dump(file, wish)
                times.append(time.perf_counter() - begin)
            print(f"{text:24} {min(times):.2f} s at best, {max(times):.2f} s at worst; {len(found.models)} of {found.seen} candidates shown")
        command = [sys.executable, "-m", "tunelab.cli.main", "hub", "find", "--task", "summarization", "--from", str(file), "--json"]
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"the whole command in a process of its own: {time.perf_counter() - begin:.2f} s; peak memory here {memory:.0f} MB")
        begin = time.perf_counter()
        duckdb.sql(f"SELECT count(COLUMNS(*)) FROM read_parquet('{file}')").fetchall()
        print(f"for comparison, reading every column of every row: {time.perf_counter() - begin:.2f} s")


def write_dump(file: Path, rows: int) -> None:
    """A dump of so many rows that are made up."""
    connection = duckdb.connect()
    connection.execute(_MACROS)
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(f"COPY ({_ROWS.replace('$rows', str(rows))}) TO '{file}' (FORMAT parquet, COMPRESSION zstd)")


if __name__ == "__main__":
    main()
