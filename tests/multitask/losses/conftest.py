"""The losses of sentence-transformers on vectors that are given, and random numbers in fp64."""

import pytest
import torch


@pytest.fixture(scope="session")
def peer():
    """peer(name, vectors (B, K, D), labels=None, **options) -> the loss of that class, without a model."""
    pytest.importorskip("sentence_transformers", reason="compares with sentence-transformers")
    from sentence_transformers.sentence_transformer import losses

    def loss(name: str, vectors: torch.Tensor, labels: torch.Tensor | None = None, **options) -> torch.Tensor:
        module = getattr(losses, name)(None, **options)
        return module.compute_loss_from_embeddings(list(vectors.unbind(1)), labels)

    return loss


@pytest.fixture
def normal():
    """normal(*sizes, seed=0) -> fp64 numbers from the normal distribution, from a fixed seed."""

    def draw(*sizes: int, seed: int = 0) -> torch.Tensor:
        return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    return draw
