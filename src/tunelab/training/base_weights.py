"""The base model as a run holds it: read from a folder in 32 or 16 bits, or packed to 4 or 8 bits by bitsandbytes, and looked through
for what is missing or not a number before anything is trained on it.

Packing is QLoRA's (Dettmers et al. 2023, arXiv:2305.14314) and LLM.int8's (Dettmers et al. 2022, arXiv:2208.07339). It is deterministic:
each load of the same files gives the same packed weights, so a run on them resumes exactly.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils import logging as transformers_logging

from tunelab.config import Config
from tunelab.errors import ModelError
from tunelab.planning.packing import four_bit_settings
from tunelab.planning.vocabulary import embedding_rows
from tunelab.training import attention

_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError)


def load_base(weights: Path, dtype: torch.dtype, packed: BitsAndBytesConfig | None = None, auto_class: Any = AutoModelForCausalLM) -> Any:
    """The base model with packed attention, in evaluation mode; its plain weights in `dtype`, its linear layers packed when `packed` says so.

    `auto_class` chooses the head (AutoModelForCausalLM, AutoModelForSequenceClassification); only the head of another class than a language
    model's may be missing in the folder. Raises ModelError: the folder cannot be loaded, lacks a weight, or holds one that is not finite.
    """
    attention.register()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    options = {"quantization_config": packed, "device_map": {"": _device()}} if packed is not None else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what bitsandbytes says about types is what was asked for
            model, loading = auto_class.from_pretrained(weights, dtype=dtype, attn_implementation=attention.NAME, local_files_only=True,
                                                        use_safetensors=True, trust_remote_code=False, output_loading_info=True, **options)
    except _UNREADABLE as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"The base model cannot be loaded: {lines[0]}", where=str(weights),
                         next_step="It needs config.json and safetensors weights of an architecture that transformers knows.") from error
    attention.require_separation(model)
    if packed is not None:
        _keep_packed_weights_as_they_are(model)
        let_go_of_the_file(parameter for parameter in model.parameters() if parameter.is_floating_point() and not hasattr(parameter, "quant_state"))
    if auto_class is AutoModelForCausalLM:
        _refuse_missing(loading, weights)
    refuse_not_finite(_numbers(model), weights, "base model")
    return model


def random_base(weights: Path, dtype: torch.dtype, auto_class: Any = AutoModelForCausalLM) -> Any:
    """A model of the same shape with random weights, drawn from torch's generator (reinit_weights)."""
    attention.register()
    transformers_logging.set_verbosity_error()
    config = AutoConfig.from_pretrained(weights, local_files_only=True, trust_remote_code=False)
    return auto_class.from_config(config, dtype=dtype, attn_implementation=attention.NAME).eval()


def packing(config: Config, compute: torch.dtype) -> BitsAndBytesConfig | None:
    """How bitsandbytes packs the base of this run, with Axolotl's defaults, stored as bfloat16; None when it does not."""
    model = config.model
    if config.adapter.adapter is None or not (model.load_in_4bit or model.load_in_8bit):
        return None
    # Each 8-bit product says on standard error that it casts its input; that is how LLM.int8 works.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if model.load_in_8bit:
        return BitsAndBytesConfig(load_in_8bit=True)
    settings = {"bnb_4bit_compute_dtype": compute, "bnb_4bit_quant_storage": torch.bfloat16, **four_bit_settings(model.bnb_config_kwargs)}
    return BitsAndBytesConfig(load_in_4bit=True, **settings)


def fit_vocabulary(config: Config, model: Any, vocabulary: int) -> None:
    """Give each token of the tokenizer a row in embedding and head, and with shrink_embeddings no more than that.

    New rows are drawn at random, around the mean of the others with mean_resizing_embeddings.
    """
    present = model.get_input_embeddings().num_embeddings
    rows = embedding_rows(config, present, vocabulary)
    if rows != present:
        model.resize_token_embeddings(rows, mean_resizing=bool(config.model.mean_resizing_embeddings))


def let_go_of_the_file(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Give these memory of their own. On a CPU weights are views of the mapped file, and one of them keeps all of it in memory, though the
    others have been packed or replaced (SmolLM2-135M: 0.5 GB)."""
    for parameter in parameters:
        parameter.data = parameter.data.clone()


def _device() -> torch.device:
    """Packed weights cannot be moved later: they are made where they stay."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _keep_packed_weights_as_they_are(model: torch.nn.Module) -> None:
    """On CPUs with AVX512-BF16, bitsandbytes rearranges 4-bit weights for good in the first pass without gradients and computes in bfloat16
    from then on: after an evaluation, training would go on with other numbers and no gradient. It asks each layer whether it may."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _refuse_missing(loading: dict[str, Any], weights: Path) -> None:
    missing = sorted(loading.get("missing_keys", ()))
    if missing:
        raise ModelError(f"{len(missing)} weights are not in the folder and would be random, the first is {missing[0]!r}.", where=str(weights),
                         next_step="Check that all *.safetensors files are there, or download the model again.")


def refuse_not_finite(tensors: Iterable[tuple[str, torch.Tensor]], where: Path, what: str) -> None:
    """Raises ModelError with the name of the first tensor that holds NaN or infinity; `what` they belong to is said too."""
    for name, tensor in tensors:
        if tensor.is_floating_point() and not tensor.is_meta and tensor.numel():
            low, high = map(float, torch.aminmax(tensor.detach()))  # NaN when any number is, and nothing as large as the tensor is allocated
            if not (math.isfinite(low) and math.isfinite(high)):
                found = "NaN" if math.isnan(low) else "infinite numbers"
                raise ModelError(f"The weight {name!r} of the {what} holds {found}; every loss would be NaN.", where=str(where),
                                 next_step="Download it again; if you trained it yourself, take an earlier checkpoint.")


def _numbers(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """All weights; of packed ones their scales, in which NaN and infinity show."""
    for name, parameter in model.named_parameters():
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            scales = (state.state2.absmax, state.offset) if state.nested else (state.absmax,)
            yield from ((name, scale) for scale in scales)
        elif getattr(parameter, "SCB", None) is not None:
            yield name, parameter.SCB
        else:
            yield name, parameter
