"""The course's model class on a trained run: its outputs are what the run predicts.

Run: pytest tests/multitask/course/test_multitask_bert.py
"""

import pytest
import torch

from minbert import InputError
from multitask import RunConfig, train
from multitask.course.multitask_bert import MultitaskBERT
from multitask.data.readers import Example
from multitask.inference.run import load_run

FIRST = ["the cat reads a book", "good", "what a great movie , not dull !", "blue river under the house"]
SECOND = [
    "a dog runs",
    "good",
    "dull film",
    "the student writes over the house and under the green river quickly",
]


def padded(tokenizer, texts, columns=40):
    """(input_ids, attention_mask) as the starter's loaders make them: each text alone, padded with 0."""
    sequences = tokenizer.encode(texts)
    ids = torch.zeros(len(texts), columns, dtype=torch.long)
    mask = torch.zeros(len(texts), columns, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        mask[row, : len(sequence.ids)] = 1
    return ids, mask


def train_run(values, folder, **tasks):
    return train(
        RunConfig.from_dict(values | {"out": str(folder), "train": {"epochs": 1}, "tasks": tasks})
    ).folder


@pytest.fixture(scope="module")
def runs(tiny_folder, tiny_data, tmp_path_factory):
    """Runs by name: pairs joined or side by side, and inputs that are cut."""
    folder = tmp_path_factory.mktemp("runs")
    values = {
        "weights": str(tiny_folder),
        "data": str(tiny_data),
        "device": "cpu",
        "threads": 1,
        "optim": {"lr": 1e-3, "head_lr": 1e-2},
    }
    bi, cross = {"pairs": "bi"}, {"pairs": "cross", "head": "mlp", "loss": "mse", "label_scale": [0, 5]}
    short = {"max_length": 9}
    return {
        "default": train_run(values, folder / "default", sst={}, paraphrase={}, sts={}),
        "bi": train_run(
            values, folder / "bi", sst={"pooling": "cls"} | short, paraphrase=bi | short, sts=short
        ),
        "cross": train_run(
            values, folder / "cross", sst={"pooling": "pooler"}, paraphrase=short, sts=cross | short
        ),
    }


@pytest.mark.parametrize("name", ["default", "bi", "cross"])
def test_outputs_are_what_the_run_predicts(runs, name):
    run = load_run(runs[name], "cpu")
    model = MultitaskBERT.from_run(runs[name], "cpu").eval()
    one, two = padded(run.tokenizer, FIRST), padded(run.tokenizer, SECOND, 50)
    with torch.no_grad():
        sentiment = model.predict_sentiment(*one)
        paraphrase = model.predict_paraphrase(*one, *two)
        similarity = model.predict_similarity(*one, *two)
        alone = [model.predict_sentiment(*padded(run.tokenizer, [text], 20)) for text in FIRST]
        pooled = run.model.encoder(*one).pooler_output
        torch.testing.assert_close(model(*one), pooled, atol=1e-5, rtol=0)
    torch.testing.assert_close(sentiment, torch.cat(alone), atol=1e-5, rtol=0)
    assert sentiment.shape == (4, 5) and paraphrase.shape == similarity.shape == (4,)
    assert sentiment.argmax(dim=-1).tolist() == run.predict("sst", FIRST)
    assert paraphrase.sigmoid().round().tolist() == run.predict("paraphrase", FIRST, SECOND)
    assert similarity.clamp(0, 5).tolist() == pytest.approx(run.predict("sts", FIRST, SECOND), abs=1e-5)
    pairs = [Example("id", texts, None, 1) for texts in zip(FIRST, SECOND, strict=True)]
    soft = run.example_scores("paraphrase", pairs)
    assert paraphrase.sigmoid().tolist() == pytest.approx(soft.tolist(), abs=1e-5)
    found = sentiment.softmax(dim=-1).double()
    expected = torch.tensor(run.example_scores("sst", [Example("id", (text,), None, 1) for text in FIRST]))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_it_can_be_trained_as_any_module(runs):
    run = load_run(runs["default"], "cpu")
    model = MultitaskBERT(run)
    one, two = padded(run.tokenizer, FIRST), padded(run.tokenizer, SECOND)
    loss = model.predict_sentiment(*one).sum() + model.predict_paraphrase(*one, *two).sum()
    (loss + model.predict_similarity(*one, *two).sum()).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert all("pooler" in name for name in without)
    assert all(name.startswith("model.") for name in model.state_dict())


def test_what_is_refused(runs, tiny_folder, tiny_data, tmp_path):
    run = load_run(runs["default"], "cpu")
    model = MultitaskBERT(run)
    ids, mask = padded(run.tokenizer, FIRST)
    with pytest.raises(InputError, match=r"input_ids is \(4, 40\), attention_mask \(3, 40\)"):
        model.predict_sentiment(ids, mask[:3])
    with pytest.raises(InputError, match="4 first sentences and 2 second ones"):
        model.predict_similarity(ids, mask, ids[:2], mask[:2])
    with pytest.raises(InputError, match="sentence 1 has 0 tokens"):
        model.predict_sentiment(ids, mask * torch.tensor([1, 0, 1, 1])[:, None])
    with pytest.raises(InputError, match="input_ids has dtype torch.float32; ids are whole numbers"):
        model.predict_sentiment(ids.float(), mask)
    with pytest.raises(InputError, match="attention_mask has values other than 0 and 1"):
        model.predict_sentiment(ids, (1 - mask) * -10000.0)
    values = {"weights": str(tiny_folder), "data": str(tiny_data), "device": "cpu"}
    ordinal = train_run(values, tmp_path / "ordinal", sst={"loss": "ordinal"})
    model = MultitaskBERT.from_run(ordinal, "cpu")
    with pytest.raises(InputError, match="sst.loss is 'ordinal', which has no logit for each class"):
        model.predict_sentiment(ids, mask)
    with pytest.raises(InputError, match="the run has 0 trained tasks of type 'sts'"):
        model.predict_similarity(ids, mask, ids, mask)
