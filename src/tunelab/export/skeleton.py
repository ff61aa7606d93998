"""An adapter put on its base by peft, without the base's weights: each is one zero, stretched to its shape.

So peft decides what the adapter does to which weight, and no more memory is used than the adapter takes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict
from peft.utils.other import ModulesToSaveWrapper
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import revert_weight_conversion
from transformers.utils import logging as transformers_logging

from tunelab.errors import ModelError
from tunelab.facts.adapter import WEIGHTS
from tunelab.facts.safetensors_header import read_header

_PREFIX = "base_model.model."
_PLAIN_START = (True, "gaussian", "eva", "orthogonal")
"""Values of init_lora_weights that say only how the adapter's first values were drawn."""

BaseTensor = Callable[[str], torch.Tensor]
"""A parameter's name in the base model -> its value there."""


@dataclass(frozen=True, slots=True)
class Part:
    """One module of the base with all that the adapter does to it: peft's layers around it, or a copy of it trained in full."""

    path: str
    module: Any
    layers: tuple[Any, ...]
    trained: Any | None

    def names(self) -> list[str]:
        """The parameters of the base that this part changes."""
        if self.trained is not None:
            return [f"{self.path}.{name}" for name, _ in self.trained.named_parameters()]
        only = {layer.parameter_name for layer in self.layers if hasattr(layer, "parameter_name")}
        return [f"{self.path}.{name}" for name, _ in self.module.named_parameters(recurse=False) if not only or name in only]

    def merged(self, base: BaseTensor) -> dict[str, torch.Tensor]:
        """The changed parameters in float32, by peft's own arithmetic. Raises ModelError: not mergeable, or not finite."""
        if self.trained is not None:
            return {f"{self.path}.{name}": parameter.detach().float() for name, parameter in self.trained.named_parameters()}
        hollow = {}
        for name in self.names():
            own = name.removeprefix(f"{self.path}.")
            parameter = hollow[own] = self.module._parameters[own]
            value = parameter.detach() if _is_given(parameter) else base(name)
            if value.shape != parameter.shape:
                raise ModelError(f"{name} has the shape {tuple(value.shape)} in the base and {tuple(parameter.shape)} with the adapter, which "
                                 "brings no values for the difference.", next_step="Save the adapter with its embedding layers.")
            self.module._parameters[own] = torch.nn.Parameter(value.float().clone(), requires_grad=False)
        try:
            for layer in self.layers:
                layer.merge(safe_merge=True)
                layer.merged_adapters.clear()  # so that it can be asked again: the base's weight is taken out below
            return {f"{self.path}.{own}": self.module._parameters[own].detach() for own in hollow}
        except ValueError as error:
            raise ModelError(f"The merged weights of {self.path} are not finite: base or adapter is damaged.",
                             next_step="Train with a lower learning_rate, or take an earlier checkpoint (--checkpoint N).") from error
        except NotImplementedError as error:
            raise ModelError(f"peft cannot merge this kind of adapter: {str(error).splitlines()[0] if str(error) else 'it depends on the input'}",
                             next_step="Use it as an adapter.") from error
        finally:
            self.module._parameters.update(hollow)


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A hollow base with its adapter. `given`: base weights that the adapter's file brings along whole (an embedding that was resized) and
    that no part changes; `tied`: parameter -> the parameter whose weight it shares; `shapes`: of all parameters, after resizing; `rows` of
    the embedding, `resized` when they are not as many as the base's; `model`: the base's own class, for names and config."""

    model: Any
    parts: tuple[Part, ...]
    shapes: Mapping[str, tuple[int, ...]]
    given: Mapping[str, torch.Tensor]
    tied: Mapping[str, str]
    rows: int
    resized: bool

    def as_stored(self, name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        """Under which names a parameter stands in the model's files, with its values there (experts are stored one by one)."""
        return {key: value.contiguous() for key, value in revert_weight_conversion(self.model, {name: tensor}).items()}


def put_on(base: Path, adapter: Path) -> Skeleton:
    """The adapter in `adapter` on the hollow model of `base`. Raises ModelError when the two do not belong together."""
    with quiet():
        model, resized = _hollow(base, adapter)
        rows = int(model.get_input_embeddings().num_embeddings)
        tied = dict(getattr(model, "all_tied_weights_keys", None) or {})
        modules = list(model.named_modules())
        shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters(remove_duplicate=False)}
        adapted = load_adapter(model, adapter, low_cpu_mem_usage=True)
    _check_complete(adapted, adapter)
    parts = _parts(adapted, {id(module): path for path, module in modules})
    given = {f"{path}.{name}": parameter.detach() for path, module in modules
             for name, parameter in module.named_parameters(recurse=False) if _is_given(parameter)}
    for one, other in tied.items():  # what is loaded into one of two names of a weight is in both
        if (one in given) != (other in given):
            both = given[one] if one in given else given[other]
            given |= {one: both, other: both}
    changed = {name for part in parts for name in part.names()}
    return Skeleton(model, parts, shapes, {name: value for name, value in given.items() if name not in changed}, tied, rows,
                    resized)


def embedding_rows(model: Any, adapter: Path) -> int | None:
    """How many rows the embedding in an adapter's file has, when the adapter brings one along and it is not as long as the model's."""
    found = []
    paths = {id(module): path for path, module in model.named_modules()}
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        path = f"{_PREFIX}{paths[id(module)]}" if module is not None and id(module) in paths else ""
        for name, entry in read_header(adapter / WEIGHTS).items() if path else ():
            if name in (f"{path}.weight", f"{path}.base_layer.weight"):
                found.append(int(entry["shape"][0]))
            elif name == f"{path}.lora_embedding_A":
                found.append(int(entry["shape"][1]))
    return max(found) if found and max(found) != model.get_input_embeddings().num_embeddings else None


def load_adapter(model: Any, adapter: Path, **options: Any) -> Any:
    """`model` with the adapter on it, ready to answer. Raises ModelError when it does not fit."""
    try:
        config = PeftConfig.from_pretrained(str(adapter))
        if getattr(config, "init_lora_weights", False) in _PLAIN_START:
            config.init_lora_weights = False  # its values come from the file; drawing them would take time and say nothing
        with quiet():
            return PeftModel.from_pretrained(model, str(adapter), config=config, is_trainable=False, **options).eval()
    except Exception as error:  # peft raises many kinds: a size that differs, a module that is not there, an unknown kind of adapter
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(f"The adapter does not fit the base model: {' '.join(lines[:2])[:300] or type(error).__name__}", where=str(adapter),
                         next_step=_ANOTHER_BASE) from error


_ANOTHER_BASE = "Name the base that it was trained on: --base ORG/NAME, or --base FOLDER"


def _hollow(base: Path, adapter: Path) -> tuple[Any, bool]:
    """The model of config.json with every weight one stretched zero, and whether its embedding was made as long as the adapter's."""
    try:
        config = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        model.tie_weights()
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"The base model's config cannot be used: {str(error).strip().splitlines()[0]}", where=str(base),
                         next_step="It needs a config.json of an architecture that transformers knows.") from error
    resized = embedding_rows(model, adapter)
    if resized is not None:
        model.resize_token_embeddings(resized, mean_resizing=False)
    hollow: dict[int, Any] = {}
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                zero = torch.zeros((), dtype=torch.float32).expand(parameter.shape)
                module._parameters[name] = hollow.setdefault(id(parameter), torch.nn.Parameter(zero, requires_grad=False))
    return model, resized is not None


def _parts(adapted: Any, paths: Mapping[int, str]) -> tuple[Part, ...]:
    """Every module that the adapter changes, in the model's order."""
    layers: dict[int, list[Any]] = {}
    whole: list[Part] = []
    for module in adapted.modules():
        if isinstance(module, ModulesToSaveWrapper):
            whole.append(Part(paths[id(module.original_module)], module.original_module, (), module.modules_to_save["default"]))
        elif isinstance(module, BaseTunerLayer):
            layers.setdefault(id(module.get_base_layer()), []).append(module)
    if not layers.keys() <= paths.keys():
        raise ModelError("The adapter changes how the base is built (layers that occur twice): it has more weights than the base can hold.",
                         next_step="Use it as an adapter.")
    found = [Part(paths[key], group[0].get_base_layer(), tuple(reversed(group)), None) for key, group in layers.items()]
    order = {path: index for index, path in enumerate(paths.values())}
    return tuple(sorted((*found, *whole), key=lambda part: order[part.path]))


def _check_complete(adapted: Any, adapter: Path) -> None:
    """Every weight that the adapter's config asks for is in its file, and the other way round. Raises ModelError."""
    if adapted.active_peft_config.is_prompt_learning:
        raise ModelError("The adapter adds virtual prompt tokens, which no weight of the base can hold.", where=str(adapter),
                         next_step="Use it as an adapter.")
    missing = [name for name, parameter in adapted.named_parameters() if parameter.is_meta]
    if missing:
        raise ModelError(f"The adapter's file lacks {len(missing)} of the weights that its config asks for on this base, the first is "
                         f"{missing[0].removeprefix(_PREFIX)}.", where=str(adapter), next_step=_ANOTHER_BASE)
    if not get_model_conversion_mapping(adapted.get_base_model(), add_legacy=False):  # with one, peft gives the weights other names
        surplus = sorted(set(read_header(adapter / WEIGHTS)) - set(get_peft_model_state_dict(adapted)))
        if surplus:
            raise ModelError(f"The adapter is for another base: {len(surplus)} of its weights have no place in this one, the first is "
                             f"{surplus[0].removeprefix(_PREFIX)}.", where=str(adapter), next_step=_ANOTHER_BASE)


def check_values(adapter: Path) -> None:
    """Raises ModelError when a weight of the adapter is not a number, or when none of them changes anything."""
    acts = False
    with safe_open(adapter / WEIGHTS, "pt") as file:
        for name in file.keys():  # noqa: SIM118 (a safetensors file is no mapping)
            tensor = file.get_tensor(name)
            if not torch.isfinite(tensor).all():
                raise ModelError(f"The adapter's weight {name.removeprefix(_PREFIX)} holds NaN or infinity.", where=str(adapter / WEIGHTS),
                                 next_step="Take an earlier checkpoint (--checkpoint N), or train again with a lower learning_rate.")
            acts = acts or not (".lora_A" in name or (".lora_B" in name and not tensor.any()))
    if not acts:
        raise ModelError("The adapter has no effect: all its lora_B weights are zero, as they were before training.", where=str(adapter),
                         next_step="Look at the run: was the learning rate ever above 0, and the gradient norm?")


def _is_given(parameter: torch.Tensor) -> bool:
    """Whether a weight of the skeleton was put there by the adapter's file and is not a stretched zero."""
    return any(parameter.stride())


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and the advice of transformers and peft: what is wrong is said by an error here."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
