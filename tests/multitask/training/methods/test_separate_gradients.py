"""Gradients kept apart by task: equal to the sum without surgery, to the formula with it, scaled or not."""

import pytest
import torch

from minbert import AdamW, LoRAConfig, add_lora
from multitask.runtime.precision import Precision
from multitask.training.gradients import Gradients
from multitask.training.methods.separate_gradients import SeparateGradients, layer_of, shared_parameters
from multitask.training.methods.standard import StandardLoss
from multitask.training.methods.surgery import GradVac, PCGrad, Surgery
from multitask.training.parallel import Engine
from multitask.training.plan import MicroBatch

CPU = torch.device("cpu")
TASKS = ("sst", "paraphrase", "sts")
LAYERS = ["embeddings", "layers.0", "layers.1"]


@pytest.fixture
def model(make_model):
    return make_model(sst={"pooling": "cls"}, paraphrase={"pairs": "bi"}, sts={"weight": 5.0})


@pytest.fixture
def pieces(model, make_batch):
    """Three tasks, two pieces of one of them; a weight below 0 makes one pull against the others."""
    return [
        MicroBatch("sst", make_batch(model, "sst", 3), 0.6),
        MicroBatch("paraphrase", make_batch(model, "paraphrase", 4), -1.0),
        MicroBatch("sst", make_batch(model, "sst", 2, start=3), 0.4),
        MicroBatch("sts", make_batch(model, "sts", 4), 1.0),
    ]


def separate(model, surgery=None, scale=None, log=lambda cosines: None, **options):
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = AdamW([{"params": parameters, "lr": 0.1, "initial_lr": 0.1}])
    precision = Precision("fp32", CPU)
    if scale is not None:
        precision.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    gradients = SeparateGradients(optimizer, precision, model, surgery or Surgery(), **options)
    gradients.log = log
    return gradients


def run(model, gradients, pieces):
    for piece in pieces:
        StandardLoss()(Engine(model), piece, gradients.backward)
    gradients.finish()


@pytest.fixture
def by_task(model, pieces):
    """Each task's own gradients: {task: {name: tensor}}, zeros where there are none."""
    found = {}
    for task in TASKS:
        names, parameters = zip(*model.named_parameters(), strict=True)
        loss = sum(model.loss(task, piece.batch) * piece.weight for piece in pieces if piece.task == task)
        values = torch.autograd.grad(loss, parameters, allow_unused=True)
        found[task] = {
            name: torch.zeros_like(parameter) if value is None else value
            for name, parameter, value in zip(names, parameters, values, strict=True)
        }
    return found


def flat(gradients, prefix="encoder."):
    return torch.cat([value.flatten() for name, value in gradients.items() if name.startswith(prefix)])


@pytest.mark.parametrize(("scale", "clip"), [(None, 0.5), (1024.0, 0.0)])
def test_without_surgery_it_is_the_sum(scale, clip, model, pieces, gradients_of, assert_equal_gradients):
    run(model, separate(model, scale=scale, clip=clip), pieces)
    found = gradients_of(model)
    model.zero_grad(set_to_none=True)
    parameters = list(model.parameters())
    run(model, Gradients(AdamW(parameters), Precision("fp32", CPU), clip), pieces)
    assert_equal_gradients(found, gradients_of(model), 1e-9)
    norm = torch.cat([value.flatten() for value in found.values()]).norm()
    assert bool(norm <= 0.5 + 1e-6) is bool(clip)


@pytest.mark.parametrize(
    ("make", "scale"),
    [(lambda: PCGrad(4), None), (lambda: GradVac(0.3, 4), 1024.0)],
    ids=["pcgrad", "gradvac"],
)
def test_surgery_on_the_shared_tensors_only(make, scale, model, pieces, by_task, gradients_of):
    """The encoder gets the weighted sum of the tasks' whole gradients, each head its own as it was."""
    if isinstance(surgery := make(), GradVac):
        surgery.targets = {f"{a} {b}": 0.5 for a in TASKS for b in TASKS}
    vectors = torch.stack([flat(by_task[task]) for task in TASKS])
    reference = make()
    reference.load_state_dict(surgery.state_dict())
    factors = reference.factors(vectors @ vectors.T, TASKS)
    assert max(abs(factor - 1) for factor in factors) > 1e-3, "tasks have to conflict"
    run(model, separate(model, surgery, scale), pieces)
    found = gradients_of(model)
    wanted = sum(factor * vector for factor, vector in zip(factors, vectors, strict=True))
    names = [name for name in found if name.startswith("encoder.")]
    assert set(names) == {n for n in by_task["sst"] if n.startswith("encoder.") and ".pooler." not in n}
    got = flat({name: found.get(name, torch.zeros_like(value)) for name, value in by_task["sst"].items()})
    torch.testing.assert_close(got, wanted, atol=1e-9, rtol=0)
    for name in found.keys() - set(names):
        torch.testing.assert_close(found[name], by_task[name.split(".")[1]][name], atol=1e-9, rtol=0)


def test_a_step_leaves_nothing_to_the_next(make_model, make_batch, gradients_of, assert_equal_gradients):
    """Only the first one reads the pooler."""
    model = make_model(sst={"pooling": "pooler"}, sts={})
    sst, sts = (MicroBatch(task, make_batch(model, task, 4), 1.0) for task in ("sst", "sts"))
    gradients = separate(model)
    run(model, gradients, [sst, sts])
    assert "encoder.pooler.dense.weight" in gradients_of(model)
    gradients.precision.step(gradients.optimizer)
    run(model, gradients, [sts])
    found = gradients_of(model)
    model.zero_grad(set_to_none=True)
    model.loss("sts", sts.batch).backward()
    assert_equal_gradients(found, gradients_of(model), 1e-12)


@pytest.mark.parametrize(
    ("where", "value", "scale"),
    [("encoder", float("nan"), None), ("head", float("inf"), None), ("encoder", float("inf"), 1024.0)],
)
def test_a_gradient_that_is_not_finite_skips_the_step(where, value, scale, model, pieces):
    surgery = GradVac(0.5)
    seen = []
    gradients = separate(model, surgery, scale, clip=1.0, conflicts_every=1, log=seen.append)
    precision, optimizer = gradients.precision, gradients.optimizer
    run(model, gradients, pieces)
    precision.step(optimizer)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    targets, rate = dict(surgery.targets), optimizer.param_groups[0]["lr"]
    for piece in pieces:
        StandardLoss()(Engine(model), piece, gradients.backward)
    bad = model.encoder.embeddings.word.weight if where == "encoder" else model.heads["sst"][1].weight
    gradients.backward((bad * value).sum(), "sst")
    gradients.finish()
    precision.step(optimizer)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert (precision.steps, precision.skipped) == (1, 1)
    assert surgery.targets == targets and len(seen) == 1
    assert scale is None or precision.scaler.get_scale() == scale / 2
    run(model, gradients, pieces)
    precision.step(optimizer)
    assert (precision.steps, precision.skipped) == (2, 1)
    assert not torch.equal(before[0], next(model.parameters()))
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert rate == optimizer.param_groups[0]["lr"]


def test_cosines_before_the_surgery_layer_by_layer(model, pieces, by_task):
    seen = []
    run(model, separate(model, PCGrad(0), scale=64.0, conflicts_every=1, log=seen.append), pieces)
    prefixes = {"overall": "encoder.", "embeddings": "encoder.embeddings."}
    prefixes |= {f"layers.{i}": f"encoder.encoder.layers.{i}." for i in (0, 1)}
    assert list(seen[0]) == ["overall", *LAYERS], "nobody has gradients for the pooler"
    for layer, cosines in seen[0].items():
        assert list(cosines) == ["sst paraphrase", "sst sts", "paraphrase sts"]
        for pair, cosine in cosines.items():
            p, q = (flat(by_task[task], prefixes[layer]) for task in pair.split())
            assert cosine == pytest.approx(float(p @ q / (p.norm() * q.norm())), abs=1e-9)


def test_cosines_every_so_many_steps_of_several_tasks(model, pieces):
    seen = []
    gradients = separate(model, conflicts_every=2, log=seen.append)
    for number in range(1, 6):
        run(model, gradients, pieces)
        model.zero_grad(set_to_none=True)
        assert len(seen) == number // 2
    run(model, gradients, pieces[:1])
    assert len(seen) == 2, "one task conflicts with nobody"
    seen.clear()
    model.zero_grad(set_to_none=True)
    gradients = separate(model, GradVac(0.5), conflicts_every=1, log=seen.append)
    gradients.backward(torch.zeros(()), "sts")
    run(model, gradients, pieces[:2])
    assert seen[0]["overall"]["sst sts"] is None and seen[0]["overall"]["sst paraphrase"] is not None


def test_a_frozen_encoder_leaves_the_heads(model, pieces, by_task, gradients_of):
    model.encoder.requires_grad_(False)
    seen = []
    gradients = separate(model, PCGrad(0), conflicts_every=1, log=seen.append)
    run(model, gradients, pieces)
    found = gradients_of(model)
    assert found and seen == [{}]
    for name, value in found.items():
        torch.testing.assert_close(value, by_task[name.split(".")[1]][name], atol=1e-12, rtol=0)


def test_fp32_is_the_least_that_gradients_are_held_in(make_model, make_batch):
    model = make_model().float()
    model.encoder.to(torch.bfloat16)
    gradients = separate(model, PCGrad(0))
    batches = [MicroBatch(task, make_batch(model, task, 2), 1.0) for task in TASKS]
    run(model, gradients, batches)
    assert {buffer.dtype for buffer in gradients._buffers.values()} == {torch.float32}
    assert model.encoder.embeddings.word.weight.grad.dtype == torch.bfloat16


@pytest.mark.parametrize(("names", "shared"), [(("sst", "sts"), False), (("default",), True)])
def test_the_one_adapter_of_all_tasks_is_shared_and_those_of_a_task_are_not(tiny, names, shared):
    add_lora(tiny, LoRAConfig(rank=2), names=names)
    everything = {name for name, _ in tiny.named_parameters()}
    adapters = {name for name in everything if ".adapters." in name}
    assert adapters and set(shared_parameters(tiny, TASKS)) == (
        everything if shared else everything - adapters
    )
    layers = {layer_of(name) for name in adapters}
    assert layers == {"layers.0", "layers.1"} and layer_of("encoder.layers.11.a.b") == "layers.11"
