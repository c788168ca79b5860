"""Surgery: PCGrad and GradVac against their papers' algorithms, written out on whole vectors in fp64."""

import math

import pytest
import torch

from multitask.training.methods.surgery import GradVac, PCGrad, find_surgery

TASKS = ["sst", "paraphrase", "sts", "news"]


def some_gradients(count, seed, size=7):
    """Vectors whose pairs agree and conflict, of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, size, dtype=torch.float64, generator=generator)
    return vectors * torch.tensor([1.0, 3.0, 0.2, 10.0], dtype=torch.float64)[:count, None]


def apply(surgery, vectors):
    """What the model gets: the weighted sum of the gradients."""
    factors = surgery.factors(vectors @ vectors.T, TASKS[: len(vectors)])
    return torch.tensor(factors, dtype=torch.float64) @ vectors


def orders(generator, count):
    """For each task the order in which it meets the others."""
    return [[j for j in torch.randperm(count, generator=generator).tolist() if j != i] for i in range(count)]


def pcgrad_written_out(vectors, generator):
    changed = []
    for i, order in enumerate(orders(generator, len(vectors))):
        own = vectors[i].clone()
        for j in order:
            if own @ vectors[j] < 0:
                own = own - (own @ vectors[j]) / vectors[j].norm() ** 2 * vectors[j]
        changed.append(own)
    return sum(changed)


def gradvac_written_out(vectors, generator, targets, decay):
    changed = []
    for i, order in enumerate(orders(generator, len(vectors))):
        own = vectors[i].clone()
        for j in order:
            cosine = own @ vectors[j] / (own.norm() * vectors[j].norm())
            target = targets[i, j].clone()
            targets[i, j] = (1 - decay) * target + decay * cosine
            if cosine < target:
                numerator = own.norm() * (target * (1 - cosine**2).sqrt() - cosine * (1 - target**2).sqrt())
                own = own + numerator / (vectors[j].norm() * (1 - target**2).sqrt()) * vectors[j]
        changed.append(own)
    return sum(changed)


@pytest.mark.parametrize("count", [1, 4])
def test_pcgrad_by_its_algorithm(count):
    surgery, generator = PCGrad(seed=3), torch.Generator().manual_seed(3)
    changes = 0
    for seed in range(10):
        vectors = some_gradients(count, seed)
        wanted = pcgrad_written_out(vectors, generator)
        changes += bool((wanted - vectors.sum(dim=0)).abs().max() > 1e-3)
        torch.testing.assert_close(apply(surgery, vectors), wanted, atol=1e-9, rtol=0)
    assert changes or count == 1


@pytest.mark.parametrize(("count", "decay"), [(1, 0.5), (2, 0.01), (4, 0.5)])
def test_gradvac_by_its_algorithm(count, decay):
    surgery, generator = GradVac(decay, seed=3), torch.Generator().manual_seed(3)
    targets = torch.zeros(count, count, dtype=torch.float64)
    for seed in range(10):
        vectors = some_gradients(count, seed)
        wanted = gradvac_written_out(vectors, generator, targets, decay)
        torch.testing.assert_close(apply(surgery, vectors), wanted, atol=1e-9, rtol=0)
    for i in range(count):
        for j in range(count):
            kept = surgery.targets.get(f"{TASKS[i]} {TASKS[j]}", 0.0)
            assert kept == pytest.approx(float(targets[i, j]), abs=1e-9)


@pytest.mark.parametrize("name", ["pcgrad", "gradvac"])
def test_gradients_that_are_zero_or_cancel_give_finite_numbers(name):
    vectors = some_gradients(3, 0)
    for rows in ([vectors[0], -vectors[0], vectors[1]], [vectors[0], 0 * vectors[0], -vectors[0]]):
        stacked = torch.stack(rows)
        surgery = find_surgery(name, 0.5, 0)
        assert apply(surgery, stacked).isfinite().all()
        assert all(math.isfinite(target) for target in getattr(surgery, "targets", {}).values())
    assert apply(find_surgery(name, 0.5, 0), 0 * vectors).tolist() == [0.0] * 7
    opposite = torch.stack([vectors[0], -2 * vectors[0]])
    torch.testing.assert_close(apply(find_surgery(name, 0.5, 0), opposite), 0 * vectors[0], atol=1e-9, rtol=0)


def test_what_is_left_of_a_gradient_that_cancelled_has_no_direction():
    """It is rounding; a cosine of it would be noise in the target."""
    unchanged = 0
    for seed in range(20):
        vectors = some_gradients(3, seed)
        vectors[1] = -0.7 * vectors[0]
        cosine = float(vectors[0] @ vectors[2] / (vectors[0].norm() * vectors[2].norm()))
        surgery = GradVac(1.0, seed)
        apply(surgery, vectors)
        target = surgery.targets.get("sst sts")
        unchanged += target is None
        assert target is None or target == pytest.approx(cosine)
    assert 0 < unchanged < 20, "both orders have to come up"


def test_a_target_of_one_cannot_be_divided_by():
    vectors = torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    surgery = GradVac(1.0)
    apply(surgery, vectors)
    assert set(surgery.targets.values()) == {1.0}
    assert apply(surgery, some_gradients(2, 0, size=2)).isfinite().all()
