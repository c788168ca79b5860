"""The course's own reference files: stand-ins of the same layout, made here by transformers and by torch.

Run: pytest tests/minbert/check/test_course_files.py
"""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers

from minbert import InputError
from minbert.check import course_files
from minbert.check.course_files import (
    IDS,
    course_model,
    course_optimizer,
    fitted_weight,
    read_optimizer_data,
    read_sanity_data,
)
from minbert.check.isolation.process import check_file
from minbert.check.judge import check_candidate, first_difference
from minbert.check.stage import InvalidOutput, MissingImplementation
from tests.minbert.check.judging import module_of, source_of
from tests.minbert.check.students import model
from tests.test_submissions import SUBMISSIONS, right_file

BERT = source_of(model)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The folder of a transformers model that is small but knows all ids of the two sentences."""
    folder = tmp_path_factory.mktemp("weights") / "small"
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=18000, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=16, initializer_range=0.4,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sanity_data(weights, tmp_path_factory):
    """A file like the course's sanity_check.data: what transformers computes."""
    model = transformers.BertModel.from_pretrained(weights, attn_implementation="eager").eval()
    ids = torch.tensor(IDS)
    with torch.no_grad():
        found = model(ids, attention_mask=(ids != 0).long())
    path = tmp_path_factory.mktemp("data") / "sanity_check.data"
    torch.save({name: found[name] for name in ("last_hidden_state", "pooler_output")}, path)
    return path


def test_our_own_model_gives_transformers_numbers(sanity_data, weights):
    part = course_model(str(sanity_data), str(weights))
    findings = check_candidate(part, part.own())
    assert [finding.status for finding in findings] == ["same", "same"]
    assert {finding.part for finding in findings} == {"course files"}
    assert max(finding.difference for finding in findings) < 1e-5


def test_a_students_model_runs_on_the_same_weights(sanity_data, weights, tmp_path):
    file = tmp_path / "bert.py"
    settings = {"data": str(sanity_data), "weights": str(weights)}

    place = "minbert.check.course_files:course_model"
    file.write_text(BERT)
    found = check_file(place, file, settings=settings)
    assert [finding.status for finding in found] == ["same", "same"], "in evaluation, dropout is off"

    part = course_model(**settings)

    def check(old: str, new: str):
        assert old in BERT
        return check_candidate(part, part.load(module_of(BERT.replace(old, new), tmp_path)))

    hidden, pooled = check("self.pooler_af(", "torch.sigmoid(")
    assert (hidden.status, pooled.status) == ("same", "different")
    hidden, pooled = check("return self.add_norm(middle, wide, *self.second)", "return middle")
    assert (hidden.status, pooled.status) == ("different", "different")
    assert pooled.follows == (hidden.stage,) and first_difference([hidden, pooled]) is hidden
    with pytest.raises(InvalidOutput, match="in these parameters: pooler_dense.*, pooling.bias"):
        check("self.pooler_dense", "self.pooling")
    with pytest.raises(MissingImplementation, match="the file has no class BertModel"):
        check("class BertModel", "class BERT")


def test_another_size_is_refused(sanity_data, weights, tmp_path):
    small = tmp_path / "small.data"
    tensors = torch.load(sanity_data, weights_only=True)
    torch.save({name: value[..., :16] for name, value in tensors.items()}, small)
    with pytest.raises(InputError, match="states of size 16, the model in .* has 24"):
        course_model(str(small), str(weights))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"last_hidden_state": torch.zeros(2, 8, 4)}, r"not a sanity_check\.data \('pooler_output'\)"),
        ({"last_hidden_state": torch.zeros(2, 7, 4), "pooler_output": torch.zeros(2, 4)}, r"\(2, 7, 4\)"),
        ({"last_hidden_state": torch.zeros(2, 8, 4), "pooler_output": torch.zeros(2, 5)}, r"\(2, 5\)"),
        ([1, 2], r"not a sanity_check\.data"),
        ({"last_hidden_state": "x", "pooler_output": "y"}, r"not a sanity_check\.data"),
    ],
)
def test_other_layouts_of_sanity_data_are_refused(tmp_path, values, said):
    path = tmp_path / "sanity_check.data"
    torch.save(values, path)
    with pytest.raises(InputError, match=said):
        read_sanity_data(path)


class Planted:
    """Unpickled without care, this runs a command."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def test_nothing_in_sanity_data_is_run(tmp_path):
    path = tmp_path / "sanity_check.data"
    torch.save({"last_hidden_state": Planted(tmp_path / "planted")}, path)
    with pytest.raises(InputError, match="not a sanity_check.data"):
        read_sanity_data(path)
    assert not (tmp_path / "planted").exists()
    path.write_bytes(b"not a file of torch")
    with pytest.raises(InputError, match="not a sanity_check.data"):
        read_sanity_data(path)
    with pytest.raises(InputError, match="there is no file"):
        read_sanity_data(tmp_path / "none")


@pytest.fixture
def few_steps(monkeypatch):
    """Spares nine tenths of the course's 1000 steps."""
    monkeypatch.setattr(course_files, "STEPS", 100)


@pytest.mark.usefixtures("few_steps")
def test_the_optimizers_inputs_are_drawn_one_after_the_other():
    """The course draws three numbers a step; the layer starts from torch's seed 0."""
    random = np.random.default_rng(0)
    layer = {}

    class Watching(torch.optim.SGD):
        def __init__(self, params, lr, weight_decay, correct_bias):
            params = list(params)
            super().__init__(params, lr=0.0)
            layer["start"] = params[0].detach().clone()

        def step(self):
            (weight,) = self.param_groups[0]["params"]
            x = torch.tensor(random.uniform(size=3), dtype=torch.float32)
            error = weight.detach() @ x - torch.tensor([x[0] + x[1], -x[2]])
            torch.testing.assert_close(weight.grad, 2 * error[:, None] * x)

    before = torch.get_rng_state()
    weight = fitted_weight(Watching)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(0)
    start = torch.nn.Linear(3, 2, bias=False).weight.detach()
    torch.testing.assert_close(layer["start"], start)
    torch.testing.assert_close(torch.tensor(weight), start)


@pytest.mark.usefixtures("few_steps")
def test_optimizer_data(tmp_path):
    path = tmp_path / "optimizer_test.npy"
    AdamW = module_of(right_file("optimizer"), tmp_path).AdamW
    np.save(path, fitted_weight(AdamW))
    part = course_optimizer(str(path))
    (own,) = check_candidate(part, part.own())
    assert (own.status, own.points) == ("same", 1) and own.difference < 1e-5
    [wrong] = [each for each in SUBMISSIONS if each.names == "decay without the rate"]
    (found,) = check_candidate(part, part.load(module_of(wrong.source(), tmp_path)))
    assert found.status == "different"
    with pytest.raises(MissingImplementation, match="the file has no class AdamW"):
        part.load(SimpleNamespace(Adam=AdamW))


@pytest.mark.parametrize("values", [np.zeros((3, 2)), np.array([["a"] * 3] * 2, dtype=object)])
def test_other_layouts_of_optimizer_data_are_refused(tmp_path, values):
    path = tmp_path / "optimizer_test.npy"
    np.save(path, values)
    with pytest.raises(InputError, match=r"\(2, 3\)|is not a \.npy file of numbers"):
        read_optimizer_data(path)
    path.write_text("text")
    with pytest.raises(InputError, match=r"is not a \.npy file of numbers"):
        read_optimizer_data(path)
