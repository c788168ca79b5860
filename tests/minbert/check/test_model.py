"""The part "model": our own code, and files that are unfinished, fail or misbehave.

Run: pytest tests/minbert/check/test_model.py
"""

import pytest
import torch

from minbert.check.bert.model import MODEL
from minbert.check.bert.own_model import OwnModel
from minbert.check.fixtures import model_fixture
from minbert.check.isolation.imports import STARTER
from minbert.check.judge import check_candidate, distance, first_difference
from tests.minbert.check.judging import assert_right, judged, names, source_of
from tests.minbert.check.students import model

PLAIN = source_of(model)
ATTENTION_STAGES = ("scaled scores", "mask", "softmax", "large scores", "context", "merged heads")
MERGED = "return (probs @ value).transpose(1, 2).flatten(2)"
RESULT = "return {'last_hidden_state': x, 'pooler_output': pooled"


def first_of(folder, **places):
    return first_difference(judged(MODEL, source_of(model, **places), folder))


def test_our_own_reference_kernels_are_right():
    assert_right(MODEL, check_candidate(MODEL, OwnModel("reference")))


def test_our_own_models_token_types_are_right():
    """Which no stage asks for, since the course's model has none."""
    tensors, _ = model_fixture("model")
    inputs = [
        torch.from_numpy(tensors[name].copy()) for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    with torch.no_grad():
        out = OwnModel().model(*inputs)
        hidden, pooled = (value.double().numpy() for value in (out.last_hidden_state, out.pooler_output))
    expected = tensors["typed.last_hidden_state"] * tensors["attention_mask"][..., None]
    assert distance(hidden, expected) < 5e-6
    assert distance(pooled, tensors["typed.pooler_output"]) < 5e-6


def by_stage(findings):
    return {finding.stage: finding for finding in findings}


def test_a_file_without_the_classes_is_skipped(tmp_path):
    details = {finding.detail.rpartition(" ")[2] for finding in judged(MODEL, "", tmp_path)}
    assert details == {"BertSelfAttention", "BertLayer", "BertModel"}


def test_what_is_not_written_yet_is_skipped_and_the_rest_is_checked(tmp_path):
    """The starter's file, after its first exercise."""
    places = dict.fromkeys(("add", "embed", "encoded"), "raise NotImplementedError")
    found = by_stage(judged(MODEL, source_of(model, **places), tmp_path))
    assert found["embeddings"].status == "skipped"
    assert found["embeddings"].detail == "BertModel.embed is not written yet (NotImplementedError)"
    assert found["add and norm"].detail == "BertLayer.add_norm is not written yet (NotImplementedError)"
    right = {stage for stage, finding in found.items() if finding.status == "same"}
    assert right == {"parameters", "q/k/v split", *ATTENTION_STAGES, "self-attention", "attention dropout"}
    assert {finding.status for finding in found.values()} == {"same", "skipped"}


def test_self_attention_alone_can_be_checked(tmp_path):
    findings = judged(MODEL, PLAIN[: PLAIN.index("class BertLayer")], tmp_path)
    assert first_difference(findings) is None
    assert len([finding for finding in findings if finding.status == "same"]) == 9


def test_missing_methods_and_parameters_are_said(tmp_path):
    source = PLAIN.replace("def transform(", "def split(").replace("self.transform(", "self.split(")
    source = source.replace("self.interm_dense", "self.intermediate_dense")
    findings = judged(MODEL, source, tmp_path)
    found = by_stage(findings)
    assert findings[0].stage == "parameters" and names(findings[0]) == {"a weight has no parameter"}
    assert findings[0].output == "bert_layers.0.interm_dense.weight is there"
    assert found["q/k/v split"].detail == "there is no method BertSelfAttention.transform"
    assert found["one layer"].detail == "BertLayer has no parameter interm_dense.weight"
    assert found["whole model"].detail == "BertModel has no parameter bert_layers.0.interm_dense.weight"
    assert found["self-attention"].status == "same"


@pytest.mark.parametrize(
    ("places", "stage", "detail"),
    [
        ({"merge": "pass"}, "scaled scores", "attention returned nothing (no return statement?)"),
        ({"merge": f"{MERGED}, probs"}, "scaled scores", "returned a tuple; it has to return a tensor"),
        ({"embedded": "x"}, "embeddings", "BertModel.embed returned nothing"),
        ({"add": "return ln_layer(totl)"}, "output projection", "NameError: name 'totl'"),
        ({"scores": "scores = query / self.head_size"}, "scaled scores", "no attribute 'head_size'"),
        ({"result": "return x, pooled"}, "all layers", 'has to return a dict with "last_hidden_state"'),
        (
            {"result": "return {'last_hidden_state': x, 'pooler_output': None}"},
            "all layers",
            "BertModel's pooler_output is a NoneType; it has to be a tensor",
        ),
        (
            {"dtype": "if hasattr(self, 'out_dense'): self.out_dense = nn.Linear(24, 24)"},
            "embeddings",
            "0.out_dense.weight has shape (24, 24); it has to be (24, 40)",
        ),
        (
            {"add": "input += dropout(dense_layer(output)); return ln_layer(input)"},
            "output projection",
            "BertLayer.add_norm changes its inputs (argument",
        ),
        (
            {"embed": "input_ids += 1; x = self.word_embedding(input_ids)"},
            "embeddings",
            "BertModel.embed changes its inputs (argument",
        ),
        (
            {"mask": "attention_mask -= 1"},
            "scaled scores",
            "BertSelfAttention.attention changes its inputs (argument 4)",
        ),
        (
            {"pool": "attention_mask.zero_(); pooled = x[:, 0]"},
            "all layers",
            "BertModel.forward changes its inputs (argument",
        ),
        (
            {"result": f"{RESULT.replace('x,', 'x.detach(),')}.detach()}}"},
            "gradients",
            "torch.no_grad() and detach",
        ),
    ],
)
def test_what_fails_is_explained(places, stage, detail, tmp_path):
    first = first_of(tmp_path, **places)
    assert first.stage == stage and first.status == "failed" and not first.mistakes
    assert detail in first.detail


@pytest.mark.parametrize(
    ("places", "stage", "detail"),
    [
        ({"merge": f"{MERGED} * float('nan')"}, "softmax", ""),
        ({"embedded": "return x * float('nan')"}, "embeddings", ""),
        ({"pool": "pooled = self.pooler_dense(x[:, 0]).log()"}, "pooler", ""),
        ({"add": "return ln_layer(input + output)[:, :-1]"}, "add and norm", "shape is (3, 6, 24)"),
        ({"embedded": "return x.sum(-1)"}, "embeddings", "shape is (3, 7)"),
        ({"merge": f"{MERGED}[..., :-1]"}, "merged heads", "(3, 7, 23); it has to be (3, 7, 24"),
        ({"merge": f"{MERGED}.mT"}, "merged heads", "shape is (3, 24, 7)"),
        ({"merge": f"{MERGED}[0]"}, "merged heads", "shape is (7, 24)"),
        ({"pool": "pooled = x[:, :1]"}, "pooler", "shape is (3, 1, 24)"),
    ],
)
def test_shapes_and_nan_are_found_where_they_come_from(places, stage, detail, tmp_path):
    first = first_of(tmp_path, **places)
    assert first.stage == stage and first.status == "different" and not first.mistakes
    assert first.difference == float("inf") and detail in first.detail


def test_weights_that_forward_changes_spoil_no_other_stage(tmp_path):
    places = model.WRONG["forward changes the weights"]
    found = by_stage(judged(MODEL, source_of(model, **places), tmp_path))
    differing = {stage: finding for stage, finding in found.items() if finding.status == "different"}
    assert names(differing.pop("weights unchanged")) == {"forward changes the weights"}
    assert {finding.follows[0] for finding in differing.values()} == {"weights unchanged"}
    assert found["embeddings"].status == found["embedding dropout"].status == "same"


@pytest.mark.parametrize(
    ("places", "stage"),
    [
        ({"embedded": "return self.embed_layer_norm(x + 0.1 * torch.randn_like(x))"}, "embeddings"),
        ({"dropout": "probs = probs + 0.1 * torch.rand_like(probs)"}, "softmax"),
        ({"out": "return self.out_layer_norm(middle + self.out_dense(wide) * torch.rand(1))"},
            "feed-forward"),
        ({"embedded": "x = x * torch.rand_like(x) if self.training else x; return self.embed_layer_norm(x)"},
         "embedding dropout"),
        ({"mask": "scores = scores * torch.rand(1) if self.training else scores + attention_mask"},
         "attention dropout"),
    ],
)  # fmt: skip
def test_numbers_that_change_alone_are_no_mistake_with_a_name(places, stage, tmp_path):
    findings = judged(MODEL, source_of(model, **places), tmp_path)
    assert first_difference(findings).stage == stage
    assert not any(map(names, findings))


def test_two_mistakes_of_one_stage_are_both_named(tmp_path):
    places = model.gelu("torch.relu(x)") | {"out": model.OUT.format("x", model.SECOND_NORM)}
    first = first_of(tmp_path, **places)
    assert first.stage == "feed-forward"
    assert names(first) == {"ReLU in place of GELU, and second residual from the layer's input"}


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        ("self.bert_layers[:1]", "only the first layer runs"),
        ("self.bert_layers[:2]", "last layer skipped"),
        ("self.bert_layers[1:]", "first layer skipped"),
        ("self.bert_layers[2:]", "each layer fed with the embeddings"),
    ],
)
def test_which_layers_run_is_told_apart(layers, name, tmp_path):
    assert names(first_of(tmp_path, **model.looped(model.STEP, layers=layers))) == {name}


def test_a_missing_bias_is_said_first_with_its_layer(tmp_path):
    for missing, name in {
        "query": "queries without a bias",
        "key": "keys without a bias",
        "key.bias = self.value": "keys and values without a bias",
    }.items():
        places = {"projections": f"{model.RIGHT['projections'][0]}; self.{missing}.bias = None"}
        first, *_ = judged(MODEL, source_of(model, **places), tmp_path)
        assert first.stage == "parameters" and names(first) == {name}


def test_attention_with_its_arguments_in_another_order_is_called_by_name(tmp_path):
    source = source_of(model, call="return self.attention(q, k, v, mask)")
    source = source.replace("def attention(self, key, query,", "def attention(self, query, key,")
    assert first_difference(judged(MODEL, source, tmp_path)) is None


def test_inner_functions_of_an_own_form_are_not_compared_where_the_whole_is_right(tmp_path):
    call = source_of(model, call="return self.attention(q, k, v, mask)")
    order = call.replace(
        "def attention(self, key, query, value, attention_mask):",
        "def attention(self, a, b, c, d):\n        query, key, value, attention_mask = a, b, c, d",
    )
    boolean = source_of(
        model,
        additive="mask[:, None, None, :] == 0",
        mask="scores = scores.masked_fill(attention_mask, -10000.0)",
    )
    for number, (source, others) in enumerate([(order, set()), (boolean, {"self-attention", "one layer"})]):
        folder = tmp_path / str(number)
        folder.mkdir()
        findings = by_stage(judged(MODEL, source, folder))
        assert {finding.status for finding in findings.values()} == {"same", "skipped"}
        skipped = {name for name, finding in findings.items() if finding.status == "skipped"}
        assert {*ATTENTION_STAGES, "attention dropout", *others} <= skipped
        assert "BertSelfAttention.attention" in findings["mask"].detail and findings["mask"].points == 0


def test_the_starters_base_class_and_mask_can_be_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(STARTER)
    source = source_of(model, encode="mask = get_extended_attention_mask(attention_mask, self.dtype)\n"
                       "        for layer in self.bert_layers: x = layer(x, mask)")  # fmt: skip
    for old, new in (
        ("from torch import nn\n", "from torch import nn\nfrom base_bert import *\nfrom utils import *\n"),
        ("class BertModel(nn.Module)", "class BertModel(BertPreTrainedModel)"),
        ("        super().__init__()\n        self.config = config\n", "        super().__init__(config)\n"),
        ("self.pooler_af = nn.Tanh()\n", "self.pooler_af = nn.Tanh()\n        self.init_weights()\n"),
    ):
        assert source.count(old) == 1
        source = source.replace(old, new)
    assert first_difference(judged(MODEL, source, tmp_path)) is None
