"""Several processes: what is summed, shared and gathered equals one process with the whole batch.

Real processes, joined by gloo on this machine.
"""

import pytest
import torch

from minbert import InputError
from multitask.losses.contrastive import info_nce
from multitask.runtime.process_group import ProcessGroup

CODE = """
import sys
from pathlib import Path
import torch
from minbert import InputError
from multitask.losses.contrastive import info_nce
from multitask.runtime.process_group import ProcessGroup
from multitask.training.parallel import Replicated

torch.set_num_threads(1)
out = Path(sys.argv[1])
group = ProcessGroup.start(torch.device("cpu"))
torch.manual_seed(group.rank)


class Model(torch.nn.Module):
    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.weight, self.lonely, self.before, self.unused, self.frozen = (
            torch.nn.Parameter(torch.randn(4, 3, dtype=torch.float64)) for _ in range(5)
        )
        self.frozen.requires_grad_(False)


def loss(model, own):
    vectors = group.all_gather(own @ model.weight.T)
    found = info_nce(vectors, None, 0.5) / group.size
    return found + model.lonely.sum() if group.rank == 1 else found


model = Model()
group.broadcast([*model.parameters()])
inputs = torch.arange(30, dtype=torch.float64).view(5, 2, 3).sin()
engine = Replicated(model)
engine(lambda model: (model.before * (group.rank + 1)).sum(), reduces=False).backward()
kept = model.before.grad.clone()
engine(loss, inputs[group.rank :: group.size]).backward()
gradients = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
model.zero_grad(set_to_none=True)
engine(lambda model: (model.frozen * 2).sum()).backward()  # of nothing that is trained
model.frozen.requires_grad_(True)
engine(lambda model: (model.frozen * 2).sum()).backward()
errors = []
for failing in ((), (1,), (0, 1)):
    try:
        with group.common_errors():
            if group.rank in failing:
                raise InputError(f"error {group.rank}")
        errors.append(None)
    except InputError as error:
        errors.append(str(error))
result = {
    "weight": model.weight.detach(),
    "kept": kept,
    "gradients": gradients,
    "frozen": model.frozen.grad,
    "inputs": torch.cat([inputs[rank :: group.size] for rank in range(group.size)]),
    "agreed": group.broadcast_object({"rank": group.rank}),
    "collected": group.all_gather_object(group.rank),
    "gathered": group.gather_object(group.rank),
    "any": group.any(group.rank == 1, False, True),
    "sum": group.sum([1.0, group.rank]),
    "main": group.is_main,
    "errors": errors,
}
torch.save(result, out / f"{group.rank}.pt")
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory, run_processes):
    folder = tmp_path_factory.mktemp("processes")
    (folder / "code.py").write_text(CODE, encoding="utf-8")
    run_processes(2, str(folder / "code.py"), str(folder))
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_gradients_are_summed_over_calls_and_processes(results):
    """Through vectors that are gathered; what one process or an earlier call uses; what nothing uses."""
    weight = results[0]["weight"].clone().requires_grad_()
    info_nce(results[0]["inputs"] @ weight.T, None, 0.5).backward()
    for rank, result in enumerate(results):
        found = result["gradients"]
        torch.testing.assert_close(found["weight"], weight.grad, rtol=0, atol=1e-12)
        assert torch.equal(found["lonely"], torch.ones(4, 3, dtype=torch.float64))
        assert torch.equal(result["kept"], torch.full((4, 3), rank + 1.0, dtype=torch.float64))
        assert torch.equal(found["before"], torch.full((4, 3), 3.0, dtype=torch.float64))
        assert found["unused"] is None and found["frozen"] is None
        assert torch.equal(result["frozen"], torch.full((4, 3), 4.0, dtype=torch.float64)), "unfrozen later"


def test_what_the_processes_exchange(results):
    assert torch.equal(results[0]["weight"], results[1]["weight"])
    assert [result["agreed"] for result in results] == [{"rank": 0}] * 2
    assert [result["collected"] for result in results] == [[0, 1]] * 2
    assert [result["gathered"] for result in results] == [[0, 1], []]
    assert [result["any"] for result in results] == [[True, False, True]] * 2
    assert [result["sum"] for result in results] == [[2.0, 1.0]] * 2
    assert [result["main"] for result in results] == [True, False]


def test_an_error_of_one_process_is_raised_in_all(results):
    assert [result["errors"] for result in results] == [[None, "process 1: error 1", "error 0"]] * 2


def test_one_process_changes_nothing():
    group, tensor = ProcessGroup(), torch.ones(2, requires_grad=True)
    assert group.all_gather(tensor) is tensor
    assert (group.broadcast_object("x"), group.all_gather_object(1), group.gather_object(2)) == (
        "x",
        [1],
        [2],
    )
    assert group.any(True, False) == [True, False] and group.sum([0.1]) == [0.1]
    assert group.is_main
    with pytest.raises(InputError, match="^wrong$"), group.common_errors():
        raise InputError("wrong")
