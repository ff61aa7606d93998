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

_ROWS = """
SELECT
    lower(hex(hash(i)))[:24] AS _id,
    author || '/' || stem || '-' || word || '-' || i AS id,
    author,
    CASE WHEN r1 < 0.45 THEN '{"license":"' || licence || '","base_model":"' || base || '","tags":["' || word || '"],"widget":[{"text":"' || repeat('x', 200) || '"}]}' END AS cardData,
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
    SELECT i, hash(i * 100 + 1) / 18446744073709551616.0 AS r1, hash(i * 100 + 2) / 18446744073709551616.0 AS r2, hash(i * 100 + 3) / 18446744073709551616.0 AS r3,
        hash(i * 100 + 4) / 18446744073709551616.0 + 1e-9 AS r4, hash(i * 100 + 5) / 18446744073709551616.0 + 1e-9 AS r5, hash(i * 100 + 6) / 18446744073709551616.0 AS r6,
        'author' || (hash(i * 100 + 7) % 400000) AS author,
        ['bert-base', 'distilbert', 'llama-3-8b', 'mistral-7b', 'gemma-2-2b', 'qwen2-7b', 't5-small', 'whisper', 'vit', 'sd-lora'][CAST(1 + hash(i * 100 + 8) % 10 AS BIGINT)] AS stem,
        ['finetuned', 'chat', 'instruct', 'code', 'summarization', 'sentiment', 'ner', 'gguf', 'lora', 'translation', 'v2', 'dpo', 'test', 'emotion'][CAST(1 + hash(i * 100 + 9) % 14 AS BIGINT)]
            AS word,
        ['text-generation', 'text-classification', 'text-to-image', 'token-classification', 'summarization', 'translation', 'reinforcement-learning',
         'automatic-speech-recognition', 'image-classification', 'fill-mask', 'feature-extraction', 'question-answering'][CAST(1 + hash(i * 100 + 10) % 12 AS BIGINT)] AS pipeline,
        ['transformers', 'diffusers', 'peft', 'sentence-transformers', 'gguf', 'stable-baselines3'][CAST(1 + hash(i * 100 + 11) % 6 AS BIGINT)] AS lib,
        ['llama', 'bert', 'mistral', 'gemma2', 'qwen2', 't5'][CAST(1 + hash(i * 100 + 12) % 6 AS BIGINT)] AS family,
        ['apache-2.0', 'mit', 'llama3', 'cc-by-nc-4.0', 'openrail', 'other'][CAST(1 + hash(i * 100 + 13) % 6 AS BIGINT)] AS licence,
        ['org/base-' || (hash(i * 100 + 14) % 3000), 'meta-llama/Meta-Llama-3-8B', 'mistralai/Mistral-7B-v0.1', 'google-bert/bert-base-uncased'][CAST(1 + hash(i * 100 + 15) % 4 AS BIGINT)] AS base,
        ['finetune', 'adapter', 'quantized', 'merge'][CAST(1 + hash(i * 100 + 16) % 4 AS BIGINT)] AS relation,
        [66000000, 110000000, 1240000000, 7240000000, 8030000000, 2610000000][CAST(1 + hash(i * 100 + 17) % 6 AS BIGINT)] AS size
    FROM range($rows) AS numbers(i))
"""


def main() -> None:
    """Measure and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 2_500_000
    with tempfile.TemporaryDirectory() as folder:
        file = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(folder) / "models.parquet"
        if not file.exists():
            write_dump(file, rows)
        print(f"{rows:,} rows, {file.stat().st_size / 1e6:,.0f} MB")
        for text, wish in (("summarization", Wish(find_task("summarization"))), ("sentiment, 7B at most", Wish(find_task("sentiment"), max_parameters=7 * 10**9)),
                           ("code, apache-2.0", Wish(find_task("code-generation"), licence="apache-2.0")),
                           ("chat on Mistral", Wish(find_task("chat"), base="mistralai/Mistral-7B-v0.1")), ("base only, by likes", Wish(base="org/base-7", sort="likes"))):
            times = []
            for _ in range(3):
                begin = time.perf_counter()
                found = in_dump(file, wish)
                times.append(time.perf_counter() - begin)
            print(f"{text:24} {min(times):.2f} s at best, {max(times):.2f} s at worst; {len(found.models)} of {found.seen} candidates shown")
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tunelab.cli.main", "hub", "find", "--task", "summarization", "--from", str(file), "--json"], check=True, capture_output=True)
        print(f"the whole command in a process of its own: {time.perf_counter() - begin:.2f} s; peak memory here {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
        begin = time.perf_counter()
        duckdb.sql(f"SELECT count(COLUMNS(*)) FROM read_parquet('{file}')").fetchall()
        print(f"for comparison, reading every column of every row: {time.perf_counter() - begin:.2f} s")


def write_dump(file: Path, rows: int) -> None:
    """A dump of so many rows that are made up."""
    connection = duckdb.connect()
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(f"COPY ({_ROWS.replace('$rows', str(rows))}) TO '{file}' (FORMAT parquet, COMPRESSION zstd)")


if __name__ == "__main__":
    main()
