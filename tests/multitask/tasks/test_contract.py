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
def test_from_file_to_loss_and_divergence(kind, build, on_tiny, tiny_tokenizer):
    task, folder = build(kind)
    assert find_kind(kind).__doc__ and task.losses  # `multitask tasks` prints them
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
    for targets in (batch.targets[:, None], batch.targets[:1]):
        with pytest.raises(InputError, match="they must be"):  # never broadcast
            task.loss(outputs, targets)
    # SMART and R-Drop: zero between equals, and both sides can carry gradients.
    assert task.divergence(outputs, outputs.clone()) == 0
    shift = torch.linspace(-0.1, 0.1, outputs.numel()).view_as(outputs)
    other = (outputs.detach() + shift).requires_grad_()
    words = model.encoder.embeddings.word.weight
    divergence = task.divergence(outputs, other)
    divergence.backward(retain_graph=True)
    assert divergence.shape == () and 0 < divergence.item() < 1
    assert other.grad.abs().sum() > 0 and words.grad.abs().sum() > 0
    model.zero_grad()
    loss = task.loss(outputs, batch.targets)
    assert loss.shape == () and loss.isfinite()
    loss.backward()
    trained = [*model.heads.parameters(), words]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert words.grad.abs().sum() > 0


@every_text_kind
def test_outputs_do_not_depend_on_the_batch_and_its_loss_is_the_mean(kind, build, on_tiny, tiny_tokenizer):
    task, folder = build(kind)
    _, tokenized = batches_of(task, tiny_tokenizer, folder)
    model = on_tiny(task)
    with torch.no_grad():
        six = model(kind, task.collate(tokenized).inputs)
        backwards = model(kind, task.collate(tokenized[::-1]).inputs)
        together = model.loss(kind, task.collate(tokenized))
        batches = [task.collate([entry]) for entry in tokenized]
        alone = torch.cat([model(kind, batch.inputs) for batch in batches])
        losses = [model.loss(kind, batch) for batch in batches]
    torch.testing.assert_close(alone, six, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(backwards.flip(0), six, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together, torch.stack(losses).mean(), atol=1e-6, rtol=1e-5)


@every_scored_kind
def test_from_outputs_to_scores_and_valid_files(kind, build, on_tiny, tiny_tokenizer, tmp_path):
    task, folder = build(kind)
    model = None
    for split in ("dev", "test"):
        examples, tokenized = batches_of(task, tiny_tokenizer, folder, split)
        model = model or on_tiny(task)
        inputs = task.collate(tokenized).inputs
        with torch.no_grad():
            predictions = task.decode(model(kind, inputs), inputs)
        assert isinstance(predictions, list) and len(predictions) == 6
        rows, ids = examples.rows, [row.id for row in examples.rows]
        for dialect in ("code", "handout"):
            path = prediction_path(tmp_path / "out", task.format, split, dialect)
            task.write(predictions, rows, path, dialect)
            assert validate_file(path, ids, task.format) == []
        if split == "test":
            assert not examples.labelled and {row.label for row in rows} == {None}
            continue
        scores = task.score(predictions, rows)
        assert math.isfinite(scores[task.primary_metric]) and all(type(v) is float for v in scores.values())
        perfect = task.score([row.label for row in rows], rows)
        assert perfect[task.primary_metric] == pytest.approx(1)
        task.write([task.majority_prediction(rows)] * 6, rows, path, dialect)  # for rows without text
        assert validate_file(path, ids, task.format) == []


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
    with pytest.raises(InputError, match="split is 'devel'; choose from train, dev, test"):
        task.load(folder, "devel")
    (folder / f"{kind}-train.csv").unlink()
    with pytest.raises(InputError, match="no such file"):
        task.load(folder, "train")
