"""InfoNCE against its formula written out, against sentence-transformers, and by what its masks leave out."""

import pytest
import torch

from multitask.losses.contrastive import count_masked, info_nce


def by_hand(
    vectors, groups=None, temperature=0.05, symmetric=False, hard_negative_weight=1.0
) -> torch.Tensor:
    """The mean over anchors, candidate by candidate; plain products where there is no temperature."""
    rows, size = vectors.shape[:2]

    def exponent(a, b):
        product = sum(x * y for x, y in zip(a, b, strict=True))
        if temperature is None:
            return product.exp()
        return (product / (a.square().sum() * b.square().sum()).sqrt() / temperature).exp()

    def known(a, b):
        return groups is not None and groups[a] == groups[b]

    total = 0.0
    for i in range(rows):
        own, candidates = exponent(vectors[i, 0], vectors[i, 1]), 0.0
        for j in range(rows):
            for k in range(1, size):
                if (j, k) != (i, 1) and known((i, 0), (j, k)):
                    continue
                factor = hard_negative_weight if i == j and k > 1 else 1.0
                candidates = candidates + factor * exponent(vectors[i, 0], vectors[j, k])
        loss = -(own / candidates).log()
        if symmetric:
            anchors = [j for j in range(rows) if j == i or not known((i, 1), (j, 0))]
            backward = -(own / sum(exponent(vectors[i, 1], vectors[j, 0]) for j in anchors)).log()
            loss = (loss + backward) / 2
        total = total + loss
    return total / rows


GROUPS = torch.tensor([[0, 0, 3, 9], [1, 1, 0, 8], [0, 0, 5, 7], [2, 2, 2, 6], [4, 4, 1, 4]])
UNEQUAL = torch.tensor([[0, 1, 2, 3], [1, 4, 5, 0], [2, 0, 1, 6], [4, 2, 4, 7], [0, 4, 8, 9]])
CASES = [
    {},
    {"temperature": 0.7},
    {"temperature": None},
    {"symmetric": True},
    {"hard_negative_weight": 3.0},
    {"hard_negative_weight": 0.0},
    {"groups": GROUPS},
    {"groups": UNEQUAL, "symmetric": True},  # of an anchor and its positive that share none
    {"groups": GROUPS, "symmetric": True, "hard_negative_weight": 0.2, "temperature": 0.3},
]


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("options", CASES, ids=str)
def test_equals_the_formula(options, size, normal):
    vectors = normal(5, size, 6)
    if "groups" in options:
        options = options | {"groups": options["groups"][:, :size]}
    expected = by_hand(vectors, **options)
    assert info_nce(vectors, **options).item() == pytest.approx(expected.item(), abs=1e-9)


@pytest.mark.parametrize(("size", "scale"), [(2, 20.0), (3, 3.0), (5, 20.0)])
def test_equals_the_library(size, scale, normal, peer):
    vectors = normal(6, size, 8)
    expected = peer("MultipleNegativesRankingLoss", vectors, scale=scale)
    assert info_nce(vectors, temperature=1 / scale).item() == pytest.approx(expected.item(), abs=1e-9)
    with pytest.warns(DeprecationWarning):
        expected = peer("MultipleNegativesSymmetricRankingLoss", vectors, scale=scale)
    loss = info_nce(vectors, temperature=1 / scale, symmetric=True)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-9)


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_known_positive_gets_no_gradient(symmetric, normal):
    """Of two rows that mean the same, neither pushes the other away."""
    vectors = normal(2, 2, 5).requires_grad_()
    loss = info_nce(vectors, torch.zeros(2, 2, dtype=torch.long), symmetric=symmetric)
    loss.backward()
    assert loss.item() == 0 and torch.equal(vectors.grad, torch.zeros_like(vectors))


def test_count_of_masked_candidates():
    # Anchors 0 and 2: each other's positive, and row 1's first hard negative. Anchor 3: its own hard
    # negative. Anchor 1: row 4's hard negative. Anchor 4: its own second one.
    assert count_masked(GROUPS) == 2 + 2 + 1 + 1 + 1
    assert count_masked(torch.arange(8).view(4, 2)) == 0
    assert count_masked(torch.zeros(4, 2, dtype=torch.long)) == 4 * 3
    assert count_masked(torch.zeros(4, 3, dtype=torch.long)) == 4 * 7
