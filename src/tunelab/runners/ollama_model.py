"""What an Ollama server says of one model: the file behind it, and what its Modelfile bakes in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunelab.runners.ollama_server import OllamaServer, same_name


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """What /api/tags and /api/show say of a model. `parameters`: what its Modelfile sets, each a list of values."""

    name: str
    digest: str
    quantisation: str
    parent: str
    template: str
    system: str
    messages: tuple[dict[str, Any], ...]
    parameters: Mapping[str, list[Any]]
    info: Mapping[str, Any]
    capabilities: tuple[str, ...] = ()

    @property
    def context(self) -> int | None:
        """The longest text that it was made for, in tokens."""
        value = self.info.get(f"{self.info.get('general.architecture')}.context_length")
        return value if isinstance(value, int) and value > 0 else None


def find_model(server: OllamaServer, name: str) -> OllamaModel:
    """What the server says of a model. Raises ModelError, UsageError, RunnerError."""
    shown = server.show(name)
    listed = next((one for one in server.installed() if same_name(one.name, name)), None)
    details = mapping(shown.get("details"))
    messages = tuple(one for one in shown.get("messages") or () if isinstance(one, dict))
    return OllamaModel(listed.name if listed else name, listed.digest if listed else "", str(details.get("quantization_level") or ""),
                       str(details.get("parent_model") or ""), str(shown.get("template") or ""), str(shown.get("system") or ""), messages,
                       read_parameters(str(shown.get("parameters") or "")), mapping(shown.get("model_info")),
                       tuple(str(one) for one in shown.get("capabilities") or ()))


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object, or an empty one where there is something else."""
    return value if isinstance(value, dict) else {}


def read_parameters(text: str) -> dict[str, list[Any]]:
    """`show`'s parameters, a name and a value on each line (strings quoted), as name -> values."""
    found: dict[str, list[Any]] = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition(" ")
        if not name:
            continue
        try:
            read: Any = json.loads(value.strip())
        except ValueError:
            read = value.strip()
        found.setdefault(name, []).append(read)
    return found
