"""Several processes: what is summed, shared and gathered equals one process with the whole batch.

Real processes, joined by gloo on this machine.
"""

import pytest
import torch

from multitask.losses.contrastive import info_nce
from multitask.runtime.process_group import BUCKET, ProcessGroup, _buckets

CODE = """
import sys
from pathlib import Path
import torch
from multitask.losses.contrastive import info_nce
from multitask.runtime.process_group import ProcessGroup

torch.set_num_threads(1)
out = Path(sys.argv[1])
group = ProcessGroup.start("cpu")
torch.manual_seed(group.rank)
weight = torch.nn.Parameter(torch.randn(4, 3, dtype=torch.float64))
group.broadcast([weight])
lonely = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))  # used by rank 1 alone
unused = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
inputs = torch.arange(30, dtype=torch.float64).view(5, 2, 3).sin()
own = inputs[group.rank :: group.size]
vectors = group.all_gather(own @ weight.T)
loss = info_nce(vectors, None, 0.5) / group.size
if group.rank == 1:
    loss = loss + lonely.sum()
loss.backward()
group.all_reduce_gradients([weight, lonely, unused])
whole = torch.cat([inputs[rank :: group.size] for rank in range(group.size)])
result = {
    "weight": weight.detach(),
    "gradient": weight.grad,
    "lonely": lonely.grad,
    "unused": unused.grad,
    "gathered": vectors.detach(),
    "inputs": whole,
    "agreed": group.broadcast_object({"rank": group.rank}),
    "collected": group.all_gather_object(group.rank),
    "main": group.is_main,
}
torch.save(result, out / f"{group.rank}.pt")
group.barrier()
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory, run_processes):
    folder = tmp_path_factory.mktemp("processes")
    (folder / "code.py").write_text(CODE, encoding="utf-8")
    run_processes(2, str(folder / "code.py"), str(folder))
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_gathered_vectors_carry_the_gradients_of_the_whole_batch(results):
    weight = results[0]["weight"].clone().requires_grad_()
    vectors = results[0]["inputs"] @ weight.T
    info_nce(vectors, None, 0.5).backward()
    for result in results:
        torch.testing.assert_close(result["gathered"], vectors.detach(), rtol=0, atol=1e-12)
        torch.testing.assert_close(result["gradient"], weight.grad, rtol=0, atol=1e-6)  # buckets are fp32


def test_every_process_has_the_first_ones_values(results):
    assert torch.equal(results[0]["weight"], results[1]["weight"])
    assert [result["agreed"] for result in results] == [{"rank": 0}] * 2
    assert [result["collected"] for result in results] == [[0, 1]] * 2
    assert [result["main"] for result in results] == [True, False]


def test_a_missing_gradient_counts_as_zero_and_none_at_all_stays_none(results):
    for result in results:
        assert torch.equal(result["lonely"], torch.ones(2, dtype=torch.float64))
        assert result["unused"] is None


def test_one_process_changes_nothing():
    group, tensor = ProcessGroup(), torch.ones(2, requires_grad=True)
    assert group.all_gather(tensor) is tensor
    assert (group.broadcast_object("x"), group.all_gather_object(1)) == ("x", [1])
    group.all_reduce_gradients([tensor])
    assert tensor.grad is None and group.is_main


def test_buckets_hold_every_parameter_once_in_order():
    sizes = [BUCKET // 2, BUCKET // 2, 1, BUCKET + 1, 2, 3]
    parameters = [torch.empty(size, device="meta") for size in sizes]
    buckets = _buckets(parameters)
    assert [len(entry) for bucket in buckets for entry in bucket] == sizes
    assert [len(bucket) for bucket in buckets] == [2, 2, 2]
