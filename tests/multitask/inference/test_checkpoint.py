"""Checkpoints: any nested state comes back as it was; another head is refused with all reasons."""

import json

import pytest
import torch
from torch import nn

from minbert import InputError, write_tensors
from multitask.inference.checkpoint import (
    RandomState,
    SavedShards,
    load_head,
    load_state,
    read_heads,
    save_state,
)


def test_a_nested_state_comes_back(tmp_path):
    state = {
        "numbers": {0: torch.arange(3), 1: {"step": 7, "x": torch.tensor(1.5, dtype=torch.float64)}},
        "list": [1, None, True, "text", 0.1, [torch.ones(2)]],
        "empty": {},
        "": {"tensor": "not one"},
    }
    save_state(tmp_path, state)
    found = load_state(tmp_path)
    assert found["numbers"].keys() == {0, 1}
    assert torch.equal(found["numbers"][0], torch.arange(3))
    assert found["numbers"][1]["x"].dtype == torch.float64
    assert found["list"][:5] == state["list"][:5] and torch.equal(found["list"][5][0], torch.ones(2))
    assert found["empty"] == {} and found[""] == {"tensor": "not one"}
    files = sorted(path.name for path in (tmp_path / "training_state").iterdir())
    assert files == ["state.json", "tensors.safetensors"]


def test_rows_of_shards_are_read_across_their_files():
    rows = torch.arange(7).view(7, 1)
    shards = SavedShards([rows[:3], rows[3:6], rows[6:], rows[7:]])
    for start in range(8):
        for stop in range(start, 9):
            assert torch.equal(shards.read(start, stop), rows[start:stop])


def test_dropout_goes_on_where_it_stopped(tmp_path):
    torch.manual_seed(3)
    torch.rand(5)
    save_state(tmp_path, {"random": RandomState(torch.device("cpu")).state_dict()})
    expected = torch.rand(4)
    torch.manual_seed(99)
    RandomState(torch.device("cpu")).load_state_dict(load_state(tmp_path)["random"])
    assert torch.equal(torch.rand(4), expected)


def test_a_folder_without_state_and_a_damaged_one(tmp_path):
    with pytest.raises(InputError, match="has no training state; only a run's last/ can be resumed"):
        load_state(tmp_path)
    with pytest.raises(ValueError):  # JSON cannot hold it
        save_state(tmp_path, {"best": float("nan")})
    assert not (tmp_path / "training_state" / "state.json").exists()
    save_state(tmp_path, {"a": 1})
    path = tmp_path / "training_state" / "state.json"
    for content in ("{", "3", '{"items": [["a", {"tensor": "gone"}]]}', "[]"):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match="state.json .*; train anew, or from best/"):
            load_state(tmp_path)
    save_state(tmp_path, {"plan": {"step": -1}})
    with pytest.raises(InputError, match="state.json: plan.step is -1; it must be a whole number"):
        load_state(tmp_path)


def test_a_head_of_another_shape_is_refused_with_all_reasons(tmp_path):
    write_tensors(
        {"a.weight": torch.ones(2, 3), "a.extra": torch.ones(1), "b.bias": torch.ones(9)},
        tmp_path / "heads.safetensors",
    )
    head = nn.Linear(4, 2)
    before = head.weight.clone()
    with pytest.raises(
        InputError, match=r"missing bias; unexpected extra; weight has shape \(2, 3\)"
    ) as error:
        load_head(tmp_path, "a", head)
    assert "b.bias" not in str(error.value)
    assert torch.equal(head.weight, before)


def test_a_damaged_heads_json_is_refused_and_none_is_no_head(tmp_path):
    assert read_heads(tmp_path) == {}
    for content in ("", "[]", json.dumps({"task": {}})):
        (tmp_path / "heads.json").write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match="heads.json.*; take another checkpoint of the run"):
            read_heads(tmp_path)


@pytest.mark.parametrize(
    "facts",
    [
        {"config": {"hidden": [10**12]}, "labels": None},
        {"config": {"hidden": [1000] * 1000}, "labels": None},
        {"config": {"projection": 10**12}, "labels": None},
        {"config": {"hidden": [4]}, "labels": ["a"] * 10_000},
    ],
)
def test_a_head_larger_than_its_weights_is_refused_before_it_is_built(tmp_path, facts):
    write_tensors({"t.weight": torch.zeros(100)}, tmp_path / "heads.safetensors")
    (tmp_path / "heads.json").write_text(json.dumps({"tasks": {"t": facts}}), encoding="utf-8")
    with pytest.raises(InputError, match=r"head of t has at least [\d,]+ weights, heads.safetensors 100;"):
        read_heads(tmp_path)
