"""The reference of pooling against the Pooling and Normalize modules of sentence-transformers, and torch.

Run: python -m pytest tests/references/test_pooling.py
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load

from minbert.check.fixtures import model_fixture
from minbert.check.references.make import make


@pytest.fixture(scope="module")
def tensors():
    return model_fixture("pooling")[0]


def test_making_it_again_gives_the_file(tensors):
    again = load(make("pooling"))
    assert again.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-12, atol=1e-12, err_msg=name)
    assert {tensors[name].dtype for name in ("hidden", "vectors")} == {np.dtype(np.float32)}


@pytest.mark.parametrize("kind", ["cls", "mean", "max"])
def test_equals_sentence_transformers(tensors, kind):
    pytest.importorskip("sentence_transformers", reason="compares with sentence-transformers")
    from sentence_transformers.sentence_transformer.modules import Pooling

    features = {
        "token_embeddings": torch.tensor(tensors["hidden"], dtype=torch.float64),
        "attention_mask": torch.tensor(tensors["mask"]),
    }
    theirs = Pooling(tensors["hidden"].shape[-1], pooling_mode=kind)(features)["sentence_embedding"]
    np.testing.assert_allclose(theirs.numpy(), tensors[f"expected/{kind}"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kind", "p"), [("l1", 1.0), ("l2", 2.0)])
def test_normalisation_equals_torch(tensors, kind, p):
    theirs = F.normalize(torch.tensor(tensors["vectors"], dtype=torch.float64), p=p, dim=-1)
    np.testing.assert_allclose(theirs.numpy(), tensors[f"expected/{kind}"], rtol=1e-12, atol=1e-12)


def test_inputs_bring_out_padding(tensors):
    """Padding is larger than every real value, and the first feature has no positive real value."""
    real, padding = tensors["hidden"][tensors["mask"] == 1], tensors["hidden"][tensors["mask"] == 0]
    assert padding.min() > real[:, 0].max() and real[:, 0].max() < 0 and len(padding)
    assert tensors["mask"].sum(axis=1).tolist() == [6, 4, 2, 1]
