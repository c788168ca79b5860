"""StandardLoss, R-Drop and SMART against their formulas written out in fp64, gradients of all tensors."""

import pytest
import torch

from minbert import Batch, BertConfig, BertModel
from multitask.config.run_config import SmartConfig
from multitask.training.methods.standard import RDrop, Smart, StandardLoss
from multitask.training.parallel import Engine
from multitask.training.plan import MicroBatch

TASKS = ["sst", "paraphrase", "sts"]
MICRO_BATCH_WEIGHT = 0.25  # of the gradients, not of the loss that is returned
WEIGHTED = {
    "sst": {"pooling": "cls", "weight": 0.5},
    "paraphrase": {"pairs": "bi", "weight": 2.0},
    "sts": {"weight": 3.0},
}


def both_directions(task, p, q):
    """KL(p || q) + KL(q || p), or (p - q)^2; the mean over the examples, times the task's weight."""
    if task == "sts":
        distance = (p - q) ** 2
    elif task == "paraphrase":
        a, b = p.sigmoid(), q.sigmoid()
        distance = a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()
        distance = distance + b * (b / a).log() + (1 - b) * ((1 - b) / (1 - a)).log()
    else:
        a, b = p.softmax(-1), q.softmax(-1)
        distance = (a * (a / b).log()).sum(-1) + (b * (b / a).log()).sum(-1)
    return distance.mean() * WEIGHTED[task]["weight"]


@pytest.fixture
def model(make_model):
    return make_model(**WEIGHTED)


@pytest.fixture
def run(model, make_batch, gradients_of):
    """run(method, task) -> the loss it returns, the gradients it leaves."""

    def run(method, task):
        model.zero_grad(set_to_none=True)
        piece = MicroBatch(task, make_batch(model, task, 5), MICRO_BATCH_WEIGHT)
        sent = []

        def backward(loss, name):
            sent.append(name)
            loss.backward()

        loss = method(Engine(model), piece, backward)
        assert sent == [task] and not loss.requires_grad
        return loss, gradients_of(model)

    return run


@pytest.fixture
def expect(model, make_batch, gradients_of):
    """expect(formula, task) -> a formula's loss, its gradients weighted; formula(outputs_of, batch)."""

    def expect(formula, task):
        model.zero_grad(set_to_none=True)
        batch = make_batch(model, task, 5)
        loss = formula(lambda noise=None: model(task, batch.inputs, noise), batch)
        loss = loss * MICRO_BATCH_WEIGHT
        loss.backward()
        return loss.detach(), gradients_of(model)

    return expect


@pytest.mark.parametrize("task", TASKS)
def test_the_standard_loss_has_the_weight_in_its_gradients_only(
    task, model, run, expect, assert_equal_gradients
):
    loss, found = run(StandardLoss(), task)
    weight = WEIGHTED[task]["weight"]
    wanted, gradients = expect(lambda outputs, b: model.tasks[task].loss(outputs(), b.targets) * weight, task)
    torch.testing.assert_close(loss, wanted)
    assert_equal_gradients(found, gradients, 1e-12)


def written_out_noise(task, outputs, count, width, config, seed):
    """Algorithm 1 of SMART, row by row."""
    torch.manual_seed(seed)
    noise = torch.randn(count, width, dtype=torch.float64) * config.noise
    clean = outputs().detach()
    for _ in range(config.steps):
        noise = noise.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(both_directions(task, outputs(noise), clean), noise)
        limit = torch.tensor(config.radius, dtype=torch.float64)
        rows = []
        for row, ascent in zip(noise.detach(), gradient, strict=True):
            moved = row + config.step_size * ascent / ascent.abs().max()
            rows.append(torch.minimum(torch.maximum(moved, -limit), limit))
        noise = torch.stack(rows)
    return noise


@pytest.mark.parametrize(
    ("task", "steps", "weight", "bregman"),
    [("sst", 2, 1.5, 0.0), ("paraphrase", 1, 0.5, 2.5), ("sts", 2, 0.5, 2.5), ("sst", 1, 0.0, 2.5)],
)
def test_smart_by_the_formula(
    task, steps, weight, bregman, model, make_batch, run, expect, assert_equal_gradients
):
    """loss + weight * divergence(outputs with the worst noise, outputs) + bregman * that to the teacher's."""
    before = model(task, make_batch(model, task, 5, start=3).inputs).detach()
    config = SmartConfig(weight, steps, step_size=0.05, noise=0.02, radius=0.06, bregman=bregman)
    torch.manual_seed(7)
    loss, found = run(Smart(config, lambda task, inputs: before), task)  # a teacher that does not change

    def formula(outputs, batch):
        noise = written_out_noise(task, outputs, len(batch.inputs.token_ids), 24, config, seed=7)
        assert noise.abs().max() == config.radius, "some entries have to be clamped"
        assert (noise.abs() < config.radius).any()
        smoothness = both_directions(task, outputs(noise), outputs())
        assert smoothness > 1e-5, "it has to matter"
        regularizer = weight * smoothness + bregman * both_directions(task, outputs(), before)
        return model.loss_of(task, outputs(), batch.targets) + regularizer

    wanted, gradients = expect(formula, task)
    torch.testing.assert_close(loss, wanted, atol=1e-9, rtol=0)
    assert_equal_gradients(found, gradients, 1e-9)


def test_rows_without_a_direction_keep_their_noise(make_model, make_batch):
    """A weight of 0 leaves no gradient to follow; nothing becomes NaN."""
    model = make_model(sst={"weight": 0.0})
    batch = make_batch(model, "sst", 3)
    outputs = model("sst", batch.inputs).detach()
    torch.manual_seed(0)
    noise = Smart(SmartConfig(1.0, noise=0.1, radius=1.0)).worst_noise(model, "sst", batch.inputs, outputs)
    torch.manual_seed(0)
    assert torch.equal(noise, torch.randn_like(noise) * 0.1)


def test_the_clean_pass_is_made_once(model, run):
    """1 for loss and regularizers, 1 a step of ascent, 1 for the noisy outputs."""
    passes = []
    hook = model.encoder.register_forward_hook(lambda module, args, output: passes.append(1))
    method = Smart(SmartConfig(weight=1.0, steps=3, bregman=1.0), lambda task, inputs: torch.zeros(5, 5))
    run(method, "sst")
    hook.remove()
    assert len(passes) == 1 + 3 + 1


@pytest.mark.parametrize("task", TASKS)
def test_r_drop_by_the_formula(task, model, run, expect, assert_equal_gradients):
    """(loss_1 + loss_2) / 2 + weight (KL(p || q) + KL(q || p)) / 2 with two different dropout masks."""
    model.train()
    torch.manual_seed(5)
    loss, found = run(RDrop(4.0), task)

    def formula(outputs, batch):
        torch.manual_seed(5)
        p, q = outputs(), outputs()
        assert not torch.equal(p, q)
        losses = model.loss_of(task, p, batch.targets) + model.loss_of(task, q, batch.targets)
        return losses / 2 + 4.0 * both_directions(task, p, q) / 2

    wanted, gradients = expect(formula, task)
    torch.testing.assert_close(loss, wanted, atol=1e-9, rtol=0)
    assert_equal_gradients(found, gradients, 1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_the_noise_takes_the_same_direction(make_model, make_batch, dtype):
    """The divergence's gradients, 1e-10 here, are less than fp16 can hold on the way back."""
    model = make_model(paraphrase={"pairs": "bi", "weight": 1e-6}).float()
    batch = make_batch(model, "paraphrase", 4)
    config = SmartConfig(1.0, noise=0.0, step_size=1.0, radius=1.0)
    noises = []
    for autocast in (torch.autocast("cpu", enabled=False), torch.autocast("cpu", dtype)):
        model.autocast = lambda autocast=autocast: autocast
        outputs = model("paraphrase", batch.inputs).detach() - 1e-3
        noises.append(Smart(config).worst_noise(model, "paraphrase", batch.inputs, outputs))
    assert noises[1].dtype == torch.float32
    cosines = torch.cosine_similarity(*noises, dim=-1)
    assert (noises[1].abs().amax(-1) > 0.99).all() and cosines.min() > 0.99


class WithoutSlope:
    """A model of two token rows, whose outputs have no finite slope along the second one at zero."""

    def __init__(self):
        self.encoder = BertModel(
            BertConfig(vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=1)
        )

    def __call__(self, task, inputs, noise):
        return torch.stack([noise[0].sum(), noise[1].sum().sqrt()])

    def divergence(self, task, p, q):
        return (p - q).square().sum()


def test_a_gradient_that_is_not_finite_moves_nothing():
    inputs = Batch.from_sequences([[1], [2]], [[0], [0]])
    config = SmartConfig(1.0, noise=0.0, step_size=0.5, radius=1.0)
    noise = Smart(config).worst_noise(WithoutSlope(), "task", inputs, torch.ones(2))
    assert noise.tolist() == [[-0.5] * 4, [0.0] * 4]


def test_a_contrastive_task_can_be_regularized(make_model, make_batch):
    model = make_model(ranking={}).train()
    piece = MicroBatch("ranking", make_batch(model, "ranking", 4), 1.0)
    for method in (Smart(SmartConfig(weight=1.0, radius=0.1, step_size=0.1)), RDrop(1.0)):
        model.zero_grad(set_to_none=True)
        assert method(Engine(model), piece, lambda loss, task: loss.backward()).isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
