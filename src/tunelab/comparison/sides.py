"""What differs between the two sides besides the weights: the comparison would then measure that too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tunelab.comparison.record import Record

_MAY_DIFFER = frozenset(("name", "model", "adapter", "weights", "revision", "folder", "run", "digest", "size", "overruled"))
_CALLED = {"dtype": "precision", "system": "system prompt", "runner": "kind of runner", "stop_ids": "stop tokens"}


def differences_between_sides(sides: Mapping[str, Mapping[str, Any]], records: Sequence[Record] = ()) -> tuple[str, ...]:
    """Warnings: facts of the runners that differ and are not what is compared, and prompts that reached the two models as other text.

    `sides` is {"base": facts, "tuned": facts}; a fact that only one side gives is not known to differ, and not listed.
    """
    base, tuned = sides["base"], sides["tuned"]
    shared = [key for key in base if key in tuned and key not in _MAY_DIFFER]
    warnings = [f"The {_CALLED.get(key, key.replace('_', ' '))} differs: base has {_shown(base[key])}, tuned has {_shown(tuned[key])}."
                for key in shared if base[key] != tuned[key]]
    unlike = [record.prompt.id for record in records
              if record.base and record.tuned and record.base.prompt_text and record.tuned.prompt_text
              and record.base.prompt_text != record.tuned.prompt_text]
    if unlike:
        prompts = "1 prompt" if len(unlike) == 1 else f"{len(unlike)} prompts"
        warnings.append(f"The models were given different text for {prompts}, the first is {unlike[0]!r}: their templates differ.")
    return tuple(warnings)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
