"""The part "model": files that are unfinished, fail, misbehave, or are mistaken in another way of writing.

Run: pytest tests/minbert/check/test_model_conduct.py
"""

import pytest

from minbert.check.bert.model import MODEL
from minbert.check.isolation.worker import STARTER
from minbert.check.judge import first_difference
from tests.minbert.check.judging import changed, judged, names
from tests.minbert.check.model_files import PLAIN
from tests.minbert.check.model_mistakes import (
    CALL,
    CONTEXT,
    DROPPED,
    KEYS,
    MASKED,
    MERGED,
    NORMED,
    PROJECTED,
    QUERIES,
    SCALED,
    SOFTMAX,
    SUM,
    WORDS,
)
from tests.minbert.check.model_mistakes_later import DENSE, EXTENDED, FIRST, RETURN, STEP, TANH, TOTAL

NO_NUMBER = "float('nan')"
ATTENTION_STAGES = ("scaled scores", "mask", "softmax", "large scores", "context", "merged heads")


def by_stage(findings):
    return {finding.stage: finding for finding in findings}


@pytest.mark.parametrize("tokens", ["", "x = 1\n"])
def test_a_file_without_the_classes_is_skipped(tokens, tmp_path):
    findings = judged(MODEL, tokens, tmp_path)
    assert {finding.status for finding in findings} == {"skipped"}
    assert {finding.detail.rpartition(" ")[2] for finding in findings} == {
        "BertSelfAttention",
        "BertLayer",
        "BertModel",
    }


def test_what_is_not_written_yet_is_skipped_and_the_rest_is_checked(tmp_path):
    """The starter's file, after its first exercise."""
    source = changed(
        PLAIN,
        (DENSE, "raise NotImplementedError"),
        (SUM, "raise NotImplementedError"),
        ("        encoded = self.encode", "        raise NotImplementedError\n        encoded = self.encode"),
    )
    found = by_stage(judged(MODEL, source, tmp_path))
    assert found["embeddings"].status == "skipped"
    assert found["embeddings"].detail == "BertModel.embed is not written yet (NotImplementedError)"
    assert found["add and norm"].detail == "BertLayer.add_norm is not written yet (NotImplementedError)"
    right = {stage for stage, finding in found.items() if finding.status == "same"}
    assert right == {"q/k/v split", *ATTENTION_STAGES, "self-attention", "attention dropout"}
    assert {finding.status for finding in found.values()} == {"same", "skipped"}


def test_self_attention_alone_can_be_checked(tmp_path):
    findings = judged(MODEL, PLAIN[: PLAIN.index("class BertLayer")], tmp_path)
    assert first_difference(findings) is None
    assert len([finding for finding in findings if finding.status == "same"]) == 9


def test_missing_methods_and_parameters_are_said(tmp_path):
    source = PLAIN.replace("def transform(", "def split(").replace("self.transform(", "self.split(")
    source = source.replace("self.interm_dense", "self.intermediate_dense")
    found = by_stage(judged(MODEL, source, tmp_path))
    assert found["q/k/v split"].detail == "there is no method BertSelfAttention.transform"
    assert found["one layer"].detail == "BertLayer has no parameter interm_dense.weight"
    assert found["whole model"].detail == "BertModel has no parameter bert_layers.0.interm_dense.weight"
    assert found["self-attention"].status == "same"


def test_a_parameter_of_another_shape_is_said(tmp_path):
    source = changed(PLAIN, ("nn.Linear(config.intermediate_size, config.hidden_size)", "nn.Linear(24, 24)"))
    found = by_stage(judged(MODEL, source, tmp_path))["one layer"]
    assert found.status == "failed"
    assert found.detail == "BertLayer's out_dense.weight has shape (24, 24); it has to be (24, 40)"


@pytest.mark.parametrize(
    ("change", "stage", "part_of_detail"),
    [
        ((MERGED, "pass"), "scaled scores", "attention returned nothing (no return statement?)"),
        ((MERGED, MERGED + ", probs"), "scaled scores", "returned a tuple; it has to return a tensor"),
        (("return self.embed_dropout(normed)", "normed"), "embeddings", "BertModel.embed returned nothing"),
        (("return ln_layer(total)", "return ln_layer(totl)"), "output projection", "NameError: name 'totl'"),
        ((SCALED, "scores = scores / self.head_size"), "scaled scores", "no attribute 'head_size'"),
        ((SCALED, "scores /= 0 * scores.size(-2) // 0"), "scaled scores", "ZeroDivisionError"),
        (
            ('return {"last_hidden_state": encoded, "pooler_output": pooled}', "return encoded, pooled"),
            "all layers",
            'BertModel.forward has to return a dict with "last_hidden_state"',
        ),
        (
            ('"pooler_output": pooled}', '"pooler_output": None}'),
            "all layers",
            "BertModel's pooler_output is a NoneType; it has to be a tensor",
        ),
    ],
)
def test_what_fails_is_explained(change, stage, part_of_detail, tmp_path):
    first = first_difference(judged(MODEL, changed(PLAIN, change), tmp_path))
    assert first.stage == stage and first.status == "failed" and not first.mistakes
    assert part_of_detail in first.detail


@pytest.mark.parametrize(
    ("change", "stage", "method"),
    [
        ((TOTAL, "input += projected; total = input"), "output projection", "BertLayer.add_norm"),
        ((WORDS, WORDS + "        input_ids += 1\n"), "embeddings", "BertModel.embed"),
        ((SCALED, "query /= math.sqrt(self.size)"), "scaled scores", "BertSelfAttention.attention"),
        ((MASKED, "attention_mask -= 1; " + MASKED), "scaled scores", "BertSelfAttention.attention"),
        ((KEYS, "hidden_states.mul_(1.0001)\n        " + KEYS), "self-attention", "forward"),
        ((FIRST, FIRST + "\n        attention_mask.zero_()"), "all layers", "BertModel.forward"),
    ],
)
def test_changed_inputs_are_said(change, stage, method, tmp_path):
    first = first_difference(judged(MODEL, changed(PLAIN, change), tmp_path))
    assert first.stage == stage and first.status == "failed"
    assert f"{method} changes its inputs (argument" in first.detail


@pytest.mark.parametrize(
    ("change", "stage", "detail"),
    [
        ((CONTEXT, CONTEXT + f" * {NO_NUMBER}"), "softmax", ""),
        ((NORMED, NORMED + f" + {NO_NUMBER}"), "embeddings", ""),
        ((TANH, "pooled = pooled.log()"), "pooler", ""),
        ((RETURN, "return ln_layer(total)[:, :-1]"), "add and norm", "shape is (3, 6, 24)"),
        (("return self.embed_dropout(normed)", "return normed.sum(-1)"), "embeddings", "shape is (3, 7)"),
        (
            (MERGED, "return context.flatten(2)[..., :-1]"),
            "merged heads",
            "(3, 7, 23); it has to be (3, 7, 24",
        ),
        ((MERGED, "return context.flatten(2).mT"), "merged heads", "shape is (3, 24, 7)"),
        ((MERGED, "return context[0].flatten(1)"), "merged heads", "shape is (7, 24)"),
        ((TANH, TANH + "[:, None]"), "pooler", "shape is (3, 1, 24)"),
    ],
)
def test_shapes_and_nan_are_found_where_they_come_from(change, stage, detail, tmp_path):
    first = first_difference(judged(MODEL, changed(PLAIN, change), tmp_path))
    assert first.stage == stage and first.status == "different" and not first.mistakes
    assert first.difference == float("inf") and detail in first.detail


D_TO_D = "nn.Linear(config.hidden_size, config.hidden_size)"
NO_BIAS = "nn.Linear(24, 24, bias=False)"
EMBED_NORM = "self.embed_layer_norm = EmbeddingNorm(config)"
OTHERWISE = {
    "mask read the wrong way round": [
        [(MASKED, "scores = scores.masked_fill(attention_mask == 0, float('-inf'))")],
        [(MASKED, "scores = torch.where(attention_mask == 0, torch.tensor(-10000.0), scores)")],
    ],
    "mask on the query axis": [
        [(MASKED, "scores = scores.masked_fill(attention_mask.mT < 0, -1e9)")],
        [(MASKED, "scores = scores.masked_fill(attention_mask.mT < 0, float('-inf'))")],
        [(MASKED, "scores = scores + attention_mask.squeeze(1).squeeze(1)[:, None, :, None]")],
    ],
    "mask with the wrong sign": [
        [(MASKED, "scores = scores.double() - attention_mask"), (DROPPED, "probs = probs.float()")]
    ],
    "mask ignored": [[(MASKED, "scores = scores.masked_fill(attention_mask == 1, -1e9)")]],
    "mask after softmax": [
        [(MASKED, "pass"), (DROPPED, "probs = self.dropout(probs.masked_fill(attention_mask < 0, 0))")]
    ],
    "scores of padding set to zero": [[(MASKED, "scores = scores * (attention_mask == 0)")]],
    "softmax over the queries": [[(SOFTMAX, "probs = F.softmax(scores, 2)")]],
    "scores divided by d": [[(SCALED, "scores = scores / self.size**0.5 / self.size**0.5")]],
    "projections without a bias": [
        [(f"self.{name} = {D_TO_D}", f"self.{name} = {NO_BIAS}") for name in ("query", "key", "value")]
    ],
    "output projection without its bias": [
        [(f"self.attention_dense = {D_TO_D}", f"self.attention_dense = {NO_BIAS}")]
    ],
    "no output projection": [[(DENSE, "projected = output")]],
    "epsilon of 1e-5 (embeddings)": [[(EMBED_NORM, "self.embed_layer_norm = nn.LayerNorm(24)")]],
    "epsilon of 1e-12 (embeddings)": [[(EMBED_NORM, "self.embed_layer_norm = nn.LayerNorm(24, 1e-12)")]],
    "layer norm without weight and bias (embeddings)": [
        [(NORMED, "normed = F.layer_norm(summed, (24,), eps=self.embed_layer_norm.eps)")],
    ],
    "dropout active in evaluation (embeddings)": [
        [("self.embed_dropout(normed)", "F.dropout(normed, self.config.hidden_dropout_prob)")],
    ],
    "dropout active in evaluation (softmax)": [[(DROPPED, "probs = F.dropout(probs, 0.25)")]],
    "additive mask the wrong way round": [
        [(EXTENDED, "extended = (1 - attention_mask[:, None, None, :].float()) * 10000.0")],
        [(EXTENDED, "extended = torch.where(attention_mask == 1, -10000.0, 0.0)[:, None, None]")],
    ],
    "last layer skipped": [
        [("for layer in self.bert_layers:", "for layer in self.bert_layers[: len(self.bert_layers) - 1]:")],
    ],
    "no layers": [[(STEP, "layer(hidden_states, extended)")]],
    "no gradient through attention": [
        [(CALL, "with torch.no_grad():\n            " + CALL)],
    ],
    "no gradient through the queries": [[(QUERIES, QUERIES + ".data")]],
    "no gradient into the word embeddings": [
        [("padding_idx=0)\n", "padding_idx=0)\n        self.word_embedding.requires_grad_(False)\n")],
    ],
    "keys from the query's linear layer": [[(KEYS, "k = self.transform(hidden_states, self.query)")]],
    "heads split without the linear layer": [[(PROJECTED, "proj = x.clone()")]],
}


@pytest.mark.parametrize(
    ("name", "changes"),
    [pytest.param(name, changes, id=name) for name, ways in OTHERWISE.items() for changes in ways],
)
def test_other_ways_of_writing_a_mistake_are_named_too(name, changes, tmp_path):
    first = first_difference(judged(MODEL, changed(PLAIN, *changes), tmp_path))
    assert names(first) == {name}, f"{first}"


def test_a_graph_that_is_cut_throughout_is_said(tmp_path):
    forward = "    def forward(self, input_ids,"
    source = changed(PLAIN, (forward, "    @torch.no_grad()\n" + forward))
    [failed] = [finding for finding in judged(MODEL, source, tmp_path) if finding.status != "same"]
    assert failed.stage == "gradients" and "no gradient: look for torch.no_grad()" in failed.detail


def test_attention_with_its_arguments_in_another_order_is_called_by_name(tmp_path):
    source = changed(
        PLAIN,
        ("def attention(self, key, query, value,", "def attention(self, query, key, value,"),
        (CALL, "return self.attention(q, k, v, attention_mask)"),
    )
    assert first_difference(judged(MODEL, source, tmp_path)) is None


def test_the_starters_base_class_and_mask_can_be_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(STARTER)
    source = changed(
        PLAIN,
        ("from torch import nn\n", "from torch import nn\nfrom base_bert import *\nfrom utils import *\n"),
        ("class BertModel(nn.Module)", "class BertModel(BertPreTrainedModel)"),
        ("        super().__init__()\n        self.config = config\n", "        super().__init__(config)\n"),
        (EXTENDED, "extended = get_extended_attention_mask(attention_mask, self.dtype)"),
        ("self.pooler_af = nn.Tanh()\n", "self.pooler_af = nn.Tanh()\n        self.init_weights()\n"),
    )
    assert first_difference(judged(MODEL, source, tmp_path)) is None
