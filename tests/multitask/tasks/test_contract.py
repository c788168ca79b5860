"""What every kind of task has to do, of texts, scored at all or trained only; the registry names them."""

import math

import pytest
import torch

from minbert import InputError
from multitask.config.task_kinds import KINDS, find_kind
from multitask.tasks.base import ScoredTask, TextTask
from multitask.tasks.predictions import prediction_path, validate_file

every_kind = pytest.mark.parametrize("kind", KINDS)
every_scored_kind = pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if issubclass(find_kind(kind), ScoredTask)]
)
every_text_kind = pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if issubclass(find_kind(kind), TextTask)]
)


def batches_of(task, tokenizer, folder, split="train"):
    examples = task.load(folder, split)
    return examples, task.tokenize(tokenizer, examples.rows)


@every_kind
def test_from_file_to_loss(kind, build, on_tiny, tiny_tokenizer):
    task, folder = build(kind)
    examples = task.load(folder, "train")
    assert len(examples.rows) == 6 and examples.rejects == ()
    assert examples.labelled or not isinstance(task, ScoredTask)
    assert all(isinstance(note, str) for note in task.prepare_training(examples.rows))
    batch = task.collate(task.tokenize(tiny_tokenizer, examples.rows))
    assert batch.example_ids == tuple(row.id for row in examples.rows)
    model = on_tiny(task)
    outputs = model(kind, batch.inputs)
    assert outputs.shape[0] == batch.targets.shape[0] and outputs.dtype == torch.float32
    assert outputs.isfinite().all() and (outputs.shape[0] == 6 or not isinstance(task, TextTask))
    loss = task.loss(outputs, batch.targets)
    assert loss.shape == () and loss.isfinite()
    loss.backward()
    trained = [p for p in (*model.heads.parameters(), model.encoder.embeddings.word.weight)]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert model.encoder.embeddings.word.weight.grad.abs().sum() > 0


@every_kind
def test_divergence_of_two_outputs(kind, build, on_tiny, tiny_tokenizer):
    """What SMART and R-Drop make small: zero between equals, and both sides can carry gradients."""
    task, folder = build(kind)
    _, tokenized = batches_of(task, tiny_tokenizer, folder)
    model, inputs = on_tiny(task), task.collate(tokenized).inputs
    p = model(kind, inputs)
    q = (p.detach() + torch.linspace(-0.1, 0.1, p.numel()).view_as(p)).requires_grad_()
    assert task.divergence(p, p.clone()) == 0
    divergence = task.divergence(p, q)
    divergence.backward()
    assert divergence.shape == () and 0 < divergence.item() < 1
    assert q.grad.abs().sum() > 0 and model.encoder.embeddings.word.weight.grad.abs().sum() > 0


@every_text_kind
def test_a_batchs_loss_is_the_mean_over_its_examples(kind, build, on_tiny, tiny_tokenizer):
    task, folder = build(kind)
    _, tokenized = batches_of(task, tiny_tokenizer, folder)
    model = on_tiny(task)
    with torch.no_grad():
        together = model.loss(kind, task.collate(tokenized))
        alone = [model.loss(kind, task.collate([entry])) for entry in tokenized]
    torch.testing.assert_close(together, torch.stack(alone).mean(), atol=1e-6, rtol=1e-5)


@every_text_kind
def test_outputs_do_not_depend_on_the_batch(kind, build, on_tiny, tiny_tokenizer):
    task, folder = build(kind)
    _, tokenized = batches_of(task, tiny_tokenizer, folder)
    model = on_tiny(task)
    with torch.no_grad():
        three = model(kind, task.collate(tokenized[:3]).inputs)
        six = model(kind, task.collate(tokenized).inputs)
        backwards = model(kind, task.collate(tokenized[::-1]).inputs)
    torch.testing.assert_close(six[:3], three, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(backwards.flip(0), six, atol=1e-5, rtol=1e-5)


@every_scored_kind
def test_from_outputs_to_scores(kind, build, on_tiny, tiny_tokenizer):
    task, folder = build(kind)
    examples, tokenized = batches_of(task, tiny_tokenizer, folder, "dev")
    batch = task.collate(tokenized)
    with torch.no_grad():
        predictions = task.decode(on_tiny(task)(kind, batch.inputs), batch.inputs)
    assert isinstance(predictions, list) and len(predictions) == 6
    scores = task.score(predictions, examples.rows)
    assert math.isfinite(scores[task.primary_metric]) and all(type(v) is float for v in scores.values())
    perfect = task.score([row.label for row in examples.rows], examples.rows)
    assert perfect[task.primary_metric] == pytest.approx(1)


@every_scored_kind
def test_from_outputs_to_a_valid_file(kind, build, on_tiny, tiny_tokenizer, tmp_path):
    task, folder = build(kind)
    examples, tokenized = batches_of(task, tiny_tokenizer, folder, "dev")
    batch = task.collate(tokenized)
    with torch.no_grad():
        predictions = task.decode(on_tiny(task)(kind, batch.inputs), batch.inputs)
    rows = examples.rows
    ids = [row.id for row in rows]
    for dialect in ("code", "handout"):
        path = prediction_path(tmp_path / "out", task.format, "dev", dialect)
        task.write(predictions, rows, path, dialect)
        assert validate_file(path, ids, task.format) == []
    task.write([task.majority_prediction(rows)] * 6, rows, path, dialect)  # for rows without text
    assert validate_file(path, ids, task.format) == []


@every_scored_kind
def test_an_unlabelled_split_is_predicted_too(kind, build, on_tiny, tiny_tokenizer):
    task, folder = build(kind)
    examples, tokenized = batches_of(task, tiny_tokenizer, folder, "test")
    assert not examples.labelled and {row.label for row in examples.rows} == {None}
    batch = task.collate(tokenized)
    assert len(task.decode(on_tiny(task)(kind, batch.inputs), batch.inputs)) == 6


@every_kind
def test_wrong_targets_are_refused_never_broadcast(kind, build, on_tiny, tiny_tokenizer):
    task, folder = build(kind)
    _, tokenized = batches_of(task, tiny_tokenizer, folder)
    batch = task.collate(tokenized)
    outputs = on_tiny(task)(kind, batch.inputs)
    for targets in (batch.targets[:, None], batch.targets[:1]):
        with pytest.raises(InputError, match="they must be"):
            task.loss(outputs, targets)


@every_kind
def test_every_loss_of_a_kind(kind, build, on_tiny, tiny_tokenizer):
    for loss in find_kind(kind).losses:
        values = {"head": "mlp"} if loss == "mse" else {}
        if loss == "ordinal":
            if find_kind(kind).__name__ != "SST":
                continue
            values = {"labels": ["0", "1", "2", "3", "4"]}
        task, folder = build(kind, loss=loss, **values)
        _, tokenized = batches_of(task, tiny_tokenizer, folder)
        model, batch = on_tiny(task), task.collate(tokenized)
        assert model.loss(kind, batch).isfinite()
        outputs = model(kind, batch.inputs)
        assert task.divergence(outputs, outputs.clone()) == 0
        if isinstance(task, ScoredTask):
            assert len(task.decode(outputs, batch.inputs)) == 6
    with pytest.raises(InputError, match=rf"{kind}.loss is 'hinge'; choose from {', '.join(task.losses)}"):
        build(kind, loss="hinge")


@every_kind
def test_missing_splits_and_files_are_named(kind, build):
    task, folder = build(kind, dev=None)
    with pytest.raises(InputError, match=rf"task {kind} has no dev split; set {kind}.dev to a file name"):
        task.load(folder, "dev")
    with pytest.raises(InputError, match="there is no split 'devel'; choose from train, dev, test"):
        task.load(folder, "devel")
    (folder / f"{kind}-train.csv").unlink()
    with pytest.raises(InputError, match="no such file"):
        task.load(folder, "train")


@every_kind
def test_every_kind_says_what_it_is(kind):
    """`multitask tasks` prints the first line of the docstring."""
    found = find_kind(kind)
    assert found.__doc__ and found.losses
    assert not issubclass(found, ScoredTask) or found.primary_metric
