"""Fixtures for all tests: a random two-layer BERT with a small vocabulary, and the shared real weights.

No test needs the network. Tests on real weights or real data look in the folder that MINBERT_SHARED names
(`../shared` beside the repository unless set) and are skipped where it is not there.
"""

import os
import shutil
import tempfile
from dataclasses import fields, replace
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Nothing is kept in the cache and state folders of whoever runs the tests.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="minbert-tests-")
os.environ["XDG_STATE_HOME"] = os.path.join(os.environ["XDG_CACHE_HOME"], "state")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # of programs that tests start: two test processes share the cores

import pytest
import torch

from minbert import (
    AttentionAdapterConfig,
    BertConfig,
    BertModel,
    Tokenizer,
    load_attention_adapters,
    read_attention_adapters,
)

ROOT = Path(__file__).parents[1]
WORDS = """the a of cat dog house river running quickly over under green blue student teacher reads writes
book good bad very not movie film great dull what how is are my your . , ? ! ' ##s ##ing ##ed ##er ##ly un
##able cafe naive 1 2 3 ##0 ##1""".split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# Tensors are tiny here: a second thread gains nothing, and sums do not depend on the machine's cores.
torch.set_num_threads(1)


LONGEST = ("test_tutorial", "test_search_processes", "test_ablate", "test_wheel")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first: of two processes neither is left alone with one at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(os.environ.get("MINBERT_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder}; set MINBERT_SHARED to the one with checkpoints/ and data/")
    return folder


@pytest.fixture(scope="session")
def minilm(shared) -> Path:
    """The folder of all-MiniLM-L6-v2, real weights of 22.7M parameters."""
    folder = shared / "checkpoints" / "all-MiniLM-L6-v2"
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder}; MINBERT_SHARED needs these weights")
    return folder


@pytest.fixture(scope="session")
def vocabulary() -> list[str]:
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    rest = [word for word in WORDS if word not in letters]
    return [*SPECIAL, *letters, *(f"##{letter}" for letter in letters if letter != "s"), *rest]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory, vocabulary) -> Path:
    """A Hugging Face folder: random weights of 2 layers, hidden size 24, a tokenizer. To be read only."""
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    Tokenizer.from_pretrained(folder).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=64,
    )
    model = BertModel(config)
    fill_at_random(model)
    model.save_pretrained(folder)
    return folder


def fill_at_random(model: torch.nn.Module, seed: int = 0) -> None:
    """Fills all parameters, norms and biases too, so that no term of a formula is multiplied by 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.2
            is_norm = "norm" in name.lower() and name.endswith("weight")
            parameter.copy_(1 + noise if is_norm else noise)


@pytest.fixture(scope="session")
def load(tiny_folder):
    """`load(source=tiny_folder, kernels="fused", **changes)`: a model with other sizes, or adapters."""

    def build(source=tiny_folder, kernels="fused", **changes) -> BertModel:
        known = {f.name for f in fields(AttentionAdapterConfig)}
        adapters = {name: changes.pop(name) for name in known & changes.keys()}
        config = replace(BertConfig.from_folder(source), **changes)
        model = BertModel.from_pretrained(source, kernels, config=config, adapter="none")
        load_attention_adapters(model, source, replace(read_attention_adapters(source), **adapters))
        return model

    return build


@pytest.fixture(scope="session")
def randomize():
    """The function `fill_at_random(model, seed=0)`."""
    return fill_at_random


@pytest.fixture
def tiny(tiny_folder) -> BertModel:
    return BertModel.from_pretrained(tiny_folder)


@pytest.fixture
def tiny_tokenizer(tiny_folder) -> Tokenizer:
    return Tokenizer.from_pretrained(tiny_folder)


@pytest.fixture
def texts() -> list[str]:
    """Sentences of many lengths, two of them equal, one empty."""
    return [
        "the cat reads a book",
        "what a great movie , not dull !",
        "",
        "good",
        "the student writes over the house and under the green river quickly running",
        "good",
        "is the teacher's film unreadable ?",
        "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    ]
