"""Alignment, uniformity and isotropy: against the formulas written out pair by pair, and known shapes."""

import math

import numpy as np
import pytest

from minbert import InputError
from multitask.metrics import embedding_quality
from multitask.metrics.embedding_quality import alignment, cosines, isotropy, mean_cosine, uniformity


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(30, 6)) + 0.5


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / math.sqrt(sum(x * x for x in vector))


def test_alignment_is_the_mean_squared_distance_of_pairs(vectors):
    first, second = vectors[:15], vectors[15:]
    distances = [math.dist(unit(u), unit(v)) for u, v in zip(first, second, strict=True)]
    assert alignment(first, second) == pytest.approx(sum(d**2 for d in distances) / 15)
    assert alignment(first, second, alpha=1) == pytest.approx(sum(distances) / 15)
    assert alignment(first, 3 * first) == pytest.approx(0, abs=1e-12)
    assert alignment(first, -first) == pytest.approx(4)
    expected = [unit(u) @ unit(v) for u, v in zip(first, second, strict=True)]
    assert cosines(first, second) == pytest.approx(expected)
    with pytest.raises(InputError, match="shapes"):
        alignment(first, second[:1])


def test_uniformity_is_over_all_pairs_of_two_different_vectors(vectors, monkeypatch):
    pairs = [(i, j) for i in range(30) for j in range(i)]
    terms = [math.exp(-2 * math.dist(unit(vectors[i]), unit(vectors[j])) ** 2) for i, j in pairs]
    expected = math.log(sum(terms) / len(terms))
    assert uniformity(vectors) == pytest.approx(expected)
    monkeypatch.setattr(embedding_quality, "ROWS", 7)
    assert uniformity(vectors) == pytest.approx(expected)
    assert uniformity(np.array([[1.0, 0], [-2.0, 0]])) == pytest.approx(-8)  # distance 2, t 2
    assert uniformity(np.array([[1.0, 0], [0.0, 0]])) == pytest.approx(-2)  # a zero vector, distance 1


def test_isotropy_is_the_ratio_of_partition_functions(vectors):
    directions = np.linalg.svd(vectors)[2]  # the eigenvectors of V'V are the rows
    sums = [sum(math.exp(sign * (c @ v)) for v in vectors) for c in directions for sign in (1, -1)]
    assert isotropy(vectors) == pytest.approx(min(sums) / max(sums))
    even = np.concatenate([np.eye(4), -np.eye(4)])
    assert isotropy(even * 1000) == pytest.approx(1)  # exp(1000) would overflow


def test_mean_cosine_is_over_all_pairs_of_two_different_vectors(vectors):
    pairs = [unit(vectors[i]) @ unit(vectors[j]) for i in range(30) for j in range(30) if i != j]
    assert mean_cosine(vectors) == pytest.approx(sum(pairs) / len(pairs))
    assert mean_cosine(np.ones((5, 3))) == pytest.approx(1)


def test_too_few_vectors_have_no_number():
    none, one = np.zeros((0, 4)), np.ones((1, 4))
    assert all(map(math.isnan, (alignment(none, none), isotropy(none), uniformity(one), mean_cosine(one))))
