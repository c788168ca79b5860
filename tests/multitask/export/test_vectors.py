"""A task's sentence vectors in sentence-transformers: the vectors that the task's head or loss sees.

Run: pytest tests/multitask/export/test_vectors.py
"""

import numpy as np
import pytest
import torch

from minbert import InputError, LoRAConfig, SentenceEncoder
from multitask.inference.run import open_source

sentence_transformers = pytest.importorskip("sentence_transformers")
# Of an old name that the library itself still uses.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:sentence_transformers")

TEXTS = [
    "the cat reads",
    "what a great movie , not dull !",
    "",
    "a b c d e f g h i j k l m n o p q r s t u v w",
]
TASKS = {
    "sts": {"type": "sts"},
    "projected": {"type": "sts", "projection": 8, "pooling": "cls", "normalize": "l2", "max_length": 12},
    "towers": {"type": "pair", "pairs": "bi", "pooling": "max", "hidden": [6]},
    "single": {"type": "sst", "normalize": "l2"},
    "simcse": {"type": "simcse", "pooling": "cls", "normalize": "l2", "training_head": "mlp"},
}


def our_vectors(source, name: str) -> np.ndarray:
    """As the task's own method computes them."""
    run = open_source(source)
    task = run.model.tasks[name]
    batch = run.tokenizer(TEXTS, max_length=task.config.max_length)
    method = task.embed if task.contrastive else task.sentence_vectors
    with torch.no_grad():
        return method(run.model.view(name), batch).numpy()


@pytest.mark.parametrize("name", TASKS)
def test_their_encode_gives_the_tasks_vectors(export, checkpoint, tmp_path, name):
    source = checkpoint(**TASKS)
    report = export(source, tmp_path / "out", "--format", "sentence-transformers", "--task", name)
    assert report["notes"] == [
        f"the head of {name} is not part of a sentence's vector, and not in the folder"
    ]
    model = sentence_transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    expected = our_vectors(source, name)
    np.testing.assert_allclose(model.encode(TEXTS), expected, rtol=0, atol=1e-5)
    assert expected.shape[1] == (8 if name == "projected" else 24)
    assert model.max_seq_length == {"projected": 12, "simcse": 32}.get(name, 64)
    again = SentenceEncoder.from_pretrained(tmp_path / "out")
    config = open_source(source).model.tasks[name].config
    assert again.modules.pooling.modes == (config.pooling,)
    assert again.modules.normalization == config.normalize
    if name == "projected":
        held = open_source(source).model.heads[name].projection.state_dict()
        assert all(
            torch.equal(tensor, held[key]) for key, tensor in again.modules.after[0].state_dict().items()
        )
    np.testing.assert_allclose(again.encode(TEXTS), expected, rtol=0, atol=1e-6)
    if name == "simcse":  # the one task that trains sentence vectors as such: without --task, as it pools
        export(source, tmp_path / "encoder", "--format", "sentence-transformers")
        again = SentenceEncoder.from_pretrained(tmp_path / "encoder")
        assert again.modules.describe() == ["Pooling(24, cls)", "Normalize(l2)"]


def test_the_similarity_that_is_predicted_with_the_adapter_of_the_task(export, checkpoint, tmp_path):
    """The cosines of sentence-transformers are a cosine head's predictions, on its own scale."""
    lora = LoRAConfig(rank=2, targets=("query", "output"))
    source = checkpoint(lora, True, sts=TASKS["sts"], single=TASKS["single"])
    export(source, tmp_path / "out", "--format", "sentence-transformers", "--task", "sts")
    model = sentence_transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(model.encode(TEXTS), our_vectors(source, "sts"), rtol=0, atol=1e-5)
    first, second = TEXTS[:2], TEXTS[3:1:-1]
    cosines = model.similarity_pairwise(model.encode(first), model.encode(second))
    predicted = open_source(source).predict("sts", first, second)
    assert (5 * cosines).tolist() == pytest.approx(predicted, abs=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"type": "pair"}, "reads both texts of a pair as one input and has no vector of a sentence"),
        ({"type": "ner", "labels": ["O", "B-X"]}, "has outputs for tokens and no sentence vectors"),
        ({"type": "masked_lm"}, "has outputs for tokens and no sentence vectors"),
        (
            {"type": "sst", "pooling": "pooler"},
            "pooling is 'pooler', and sentence-transformers has no module",
        ),
        (
            {"type": "sts", "normalize": "l1"},
            "normalize is 'l1', and sentence-transformers' Normalize divides",
        ),
    ],
)
def test_what_has_no_vector_or_no_module(export, checkpoint, tmp_path, values, message):
    with pytest.raises(InputError, match=message):
        export(
            checkpoint(other=values), tmp_path / "out", "--format", "sentence-transformers", "--task", "other"
        )
    assert not (tmp_path / "out").exists()
