"""Small preference data for the tiny model: the better answer says a word once, the worse one goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.helpers.tiny import WORDS


def pair_rows(rows: int = 24) -> list[dict[str, Any]]:
    """Rows of `type: chat_template.default`."""
    found = []
    for index in range(rows):
        word, other = WORDS[index * 7 % len(WORDS)], WORDS[(index * 3 + 1) % len(WORDS)]
        found.append({"messages": [{"role": "user", "content": f"say {word} {'twice ' * (index % 3)}{index}"}],
                      "chosen": {"role": "assistant", "content": word + f" {index}" * (index % 2)},
                      "rejected": {"role": "assistant", "content": " ".join([other, word] * (1 + index % 4))}})
    return found


def rated_rows(rows: int = 24) -> list[dict[str, Any]]:
    """Rows of `type: chatml.argilla` of KTO: two good answers, then a bad one."""
    return [{"instruction": row["messages"][0]["content"], "completion": row["chosen" if index % 3 else "rejected"]["content"], "label": bool(index % 3)}
            for index, row in enumerate(pair_rows(rows))]


def scored_rows(rows: int = 24) -> list[dict[str, Any]]:
    """Rows of `type: bradley_terry.chat_template`."""
    return [{"input": row["messages"][0]["content"], "chosen": row["chosen"]["content"], "rejected": row["rejected"]["content"]}
            for row in pair_rows(rows)]


def odds_rows(rows: int = 24) -> list[dict[str, Any]]:
    """Rows of ORPO's `type: chat_template.argilla`."""
    return [{side: [*row["messages"], row[side]] for side in ("chosen", "rejected")} for row in pair_rows(rows)]


METHODS: dict[str, dict[str, Any]] = {
    "dpo": {"rl": "dpo", "type": "chat_template.default"}, "ipo": {"rl": "ipo", "type": "chat_template.default"},
    "kto": {"rl": "kto", "type": "chatml.argilla", "remove_unused_columns": False},
    "orpo": {"rl": "orpo", "type": "chat_template.argilla"},
    "simpo": {"rl": "simpo", "type": "chat_template.default", "rl_beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.5},
    "reward": {"reward_model": True, "type": "bradley_terry.chat_template", "pad_to_sequence_len": True}}
"""What a config of each method says, with the `type` of its datasets."""


def rows_of(method: str, rows: int = 24) -> list[dict[str, Any]]:
    """Rows as the method's type reads them."""
    make = {"kto": rated_rows, "orpo": odds_rows, "reward": scored_rows}.get(method, pair_rows)
    return make(rows)


def settings_of(method: str, folder: Path, rows: int = 24, **more: Any) -> dict[str, Any]:
    """Changes for `tiny.write_config` that make it a config of the method, its data written into `folder`."""
    data = folder / f"{method}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows_of(method, rows)), encoding="utf-8")
    settings = dict(METHODS[method])
    return {"datasets": [{"path": str(data), "type": settings.pop("type")}], "sample_packing": None, "lora_dropout": None, "val_set_size": None,
            "eval_steps": None, "save_steps": None, "num_epochs": 1, "micro_batch_size": 2, "gradient_accumulation_steps": 2, **settings, **more}
