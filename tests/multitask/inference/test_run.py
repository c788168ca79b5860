"""A trained run and pretrained weights: predict, evaluate, prediction files, and what is refused.

Run: pytest tests/multitask/inference/test_run.py.
The test on real weights and data reads the folder MINBERT_SHARED.
"""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from minbert import BertModel, InputError
from multitask import RunConfig, TrainingTask, evaluate, load_run, train
from multitask.config.task_config import task_config
from multitask.inference.run import Run, load_weights, open_source
from multitask.metrics.scores import accuracy, pearson
from multitask.runtime.device import find_device
from multitask.tasks.predictions import read_predictions, validate_file
from multitask.tasks.splits import load_split

TASKS = ("sst", "paraphrase", "sts")


def test_predictions_of_each_task(run):
    assert run.predict("sst", ["good movie", "dull"])[0] in range(5)
    assert set(run.predict("paraphrase", ["a cat", "a dog"], ["a cat", "the river"])) <= {0, 1}
    close, _ = run.predict("sts", ["the cat reads", "the cat reads"], ["the cat reads", "blue river"])
    assert close == pytest.approx(5, abs=1e-4)  # the cosine of a text with itself is 1, on a scale of 0 to 5
    assert run.predict("sst", []) == [] and run.predict("sts", [], []) == []


@pytest.mark.parametrize(
    ("task", "texts", "pairs", "message"),
    [
        ("ssst", ["a"], None, "the run has no task 'ssst'; did you mean 'sst'.; it has sst, paraphrase, sts"),
        ("sst", "a", None, "texts is one string; give a list of texts"),
        ("sts", ["a"], "b", "pairs is one string; give a list of texts"),
        ("sst", ["a"], ["b"], "sst takes one text an example"),
        ("sts", ["a"], None, "sts takes pairs of texts an example"),
        ("sts", ["a", "b"], ["a"], "2 texts and 1 pairs; give one pair for each text"),
        ("sst", [3], None, "text 0 is a int; give strings"),
    ],
)
def test_wrong_use_of_predict(run, task, texts, pairs, message):
    with pytest.raises(InputError, match=message):
        run.predict(task, texts, pairs)


def test_a_run_scores_as_training_said(run, data):
    evaluation = run.evaluate()
    assert evaluation.scores.keys() == set(TASKS)
    assert evaluation.overall.keys() == {"overall_2024", "mean_raw"}
    for task, scores in run.scores["scores"].items():
        assert evaluation.scores[task] == pytest.approx(scores, abs=1e-6)
    assert evaluation.as_dict()["notes"] == evaluation.notes
    rows = load_split(run.task("sst"), data, "dev")[0].rows[:4]
    limited = Run(run.model, run.tokenizer, run.fallbacks, run.trained, replace(run.config, limit=4))
    expected = accuracy(run.predict("sst", [r.texts[0] for r in rows]), [r.label for r in rows])
    assert limited.evaluate(data, tasks=["sst"]).scores["sst"]["accuracy"] == expected


def test_scores_are_those_of_the_predictions(run, data):
    rows = load_split(run.task("sts"), data, "dev")[0].rows
    predictions = run.predict("sts", *zip(*(row.texts for row in rows), strict=True))
    scores = evaluate(run.folder, data, "dev", ["sts"]).scores
    assert scores["sts"]["pearson"] == pytest.approx(pearson(predictions, [r.label for r in rows]), abs=1e-6)
    assert scores.keys() == {"sts"}


def test_what_cannot_be_scored_is_named(run, data, tmp_path):
    evaluation = run.evaluate(split="test")
    assert evaluation.scores == {} and evaluation.overall == {}
    sst, paraphrase, sts = sorted(evaluation.notes, key=lambda note: TASKS.index(note.split(":")[0]))
    assert sst.startswith("sst: ") and sst.endswith("ids-sst-test-student.csv has no labels to score by")
    assert sts.endswith("sts-test-student.csv has no labels to score by")
    assert paraphrase.startswith("paraphrase: no test split (no file ")
    assert paraphrase.endswith("quora-test-student.csv), left out")
    row = "\tid\tsentence1\tsentence2\tsimilarity\n0\ta\tgood\tfilm\t9.5\n"
    (tmp_path / "sts-dev.csv").write_text(row, encoding="utf-8")
    reason = (
        "sts-dev.csv:2 rejected: the label 'similarity' cannot be used: '9.5' is not between 0 and 5, which"
    )
    with pytest.raises(InputError, match=f"sts: 1 of 1 rows of .* cannot be used; .*{reason}"):
        run.evaluate(tmp_path, tasks=["sts"])
    config = replace(run.config, max_rejected=1.0)
    lenient = Run(run.model, run.tokenizer, trained=run.trained, config=config)
    evaluation = lenient.evaluate(tmp_path, tasks=["sts"])
    assert evaluation.scores == {}
    rejected, unusable = evaluation.notes
    assert reason in rejected
    assert unusable.endswith("sts-dev.csv has no usable row to score")
    with pytest.raises(InputError, match="absent does not exist; give a folder with the data files"):
        run.evaluate(tmp_path / "absent")
    with pytest.raises(InputError, match="no data folder; give --data DIR, or --data sample"):
        Run(run.model, run.tokenizer, trained=run.trained).evaluate()


def test_prediction_files_have_a_row_for_every_id(run, data, tmp_path):
    """Rejected rows that have text are predicted, the others get the majority or mean of train."""
    for dialect, ending in (("code", "output"), ("handout", "out")):
        files, notes = run.write_predictions(tmp_path / dialect, data, "dev", file_format=dialect)
        assert [path.name for path in files] == [
            f"{stem}-dev-{ending}.csv" for stem in ("sst", "para", "sts")
        ]
        for task, path in zip(TASKS, files, strict=True):
            format = run.task(task).format
            ids = [entry.id for entry in load_split(run.task(task), data, "dev")[0].in_file_order()]
            assert [row_id for row_id, _ in read_predictions(path, format)] == ids
            assert validate_file(path, ids, format) == []
    for task in TASKS:
        labels = [row.label for row in load_split(run.task(task), data, "train")[0].rows]
        expected = sum(labels) / len(labels) if task == "sts" else max(set(labels), key=labels.count)
        assert run.fallbacks[task] == pytest.approx(expected)
    sst, paraphrase = (
        dict(read_predictions(files[i], run.task(task).format)) for i, task in enumerate(TASKS[:2])
    )
    assert int(sst["unmarked"]) == run.predict("sst", ["good movie"])[0]
    assert int(sst["empty"]) == int(sst["short"]) == run.fallbacks["sst"]
    assert float(paraphrase["unmarked"]) == run.predict("paraphrase", ["a cat"], ["a dog"])[0]
    assert float(paraphrase["empty"]) == float(paraphrase["short"]) == run.fallbacks["paraphrase"]
    guess = run.fallbacks["sst"]
    assert f"sst: {data / 'ids-sst-dev.csv'}:17 has no text; predicted the training split's {guess}" in notes
    files, notes = run.write_predictions(tmp_path / "test", data, "test", ["sst", "paraphrase"])
    assert [path.name for path in files] == ["sst-test-output.csv"]
    assert any("no test split" in note for note in notes)


def test_text_that_no_tokenizer_takes_is_predicted_all_the_same(run, tmp_path, monkeypatch):
    rows = [{"id": "a", "sentence": "good \ud800 movie", "sentiment": 1}, {"id": "b", "sentence": "dull"}]
    (tmp_path / "sst.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    task = run.model.tasks["sst"]
    monkeypatch.setattr(task, "config", replace(task.config, dev="sst.jsonl"))
    [path], _ = run.write_predictions(tmp_path / "out", tmp_path, "dev", ["sst"])
    assert [row_id for row_id, _ in read_predictions(path, run.task("sst").format)] == ["a", "b"]


def test_best_is_a_folder_that_transformers_runs(run, run_folder):
    from transformers import BertModel as Reference

    reference = Reference.from_pretrained(run_folder / "best").eval()
    padded = run.tokenizer(["the cat reads a book", "good"]).padded()
    with torch.no_grad():
        expected = reference(**padded).last_hidden_state
        found = run.model.encoder(**padded).last_hidden_state
    keep = padded["attention_mask"].bool()
    torch.testing.assert_close(found[keep], expected[keep], atol=1e-5, rtol=1e-5)
    own = BertModel.from_pretrained(run_folder / "best")(**padded).last_hidden_state
    assert torch.equal(own, found)


def test_best_is_opened_without_the_run_also_by_its_short_name(run, run_folder, data, tmp_path, monkeypatch):
    shutil.copytree(run_folder, tmp_path / "checkpoints" / "mine", ignore=shutil.ignore_patterns("last"))
    monkeypatch.chdir(tmp_path)
    texts = ["good movie", "dull film", "what a river"]
    assert load_run("checkpoints/mine").predict("sst", texts) == run.predict("sst", texts)  # best, not last
    shutil.move("checkpoints/mine/best", "checkpoints/best")
    alone = open_source("best")
    assert alone.trained == TASKS == open_source("best", ["sst"]).trained
    assert alone.fallbacks == run.fallbacks and alone.predict("sst", texts) == run.predict("sst", texts)
    alone.config = replace(alone.config, max_rejected=0.2)
    assert alone.evaluate(data).scores == run.evaluate(data).scores
    assert open_source(run_folder).folder == run_folder


def test_training_goes_on_from_best_with_matching_heads(run_folder, data, tmp_path, run):
    values = {
        "weights": str(run_folder / "best"),
        "data": str(data),
        "device": "cpu",
        "train": {"max_steps": 1},
        "optim": {"lr": 0.0, "head_lr": 0.0, "weight_decay": 0.0},
        "max_rejected": 0.2,
    }
    tasks = {"sst": {"hidden": [9]}, "paraphrase": {"pairs": "bi"}, "sts": {}}
    again = train(RunConfig.from_dict(values | {"out": str(tmp_path / "run"), "tasks": tasks}))
    before, after = (
        load_file(folder / "best" / "heads.safetensors") for folder in (run_folder, again.folder)
    )
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    wrong = {"sst": {"hidden": [8]}}
    with pytest.raises(InputError, match=r"the head of sst in .* is another one: .*has shape \(9, 24\)"):
        train(RunConfig.from_dict(values | {"out": str(tmp_path / "new"), "tasks": wrong}))
    assert not (tmp_path / "new").exists()
    cosine = {"paraphrase": {"pairs": "bi"}, "sts": {"head": "mlp", "loss": "mse"}}
    with pytest.raises(InputError, match="the head of sts in .* is another one: missing 1.weight"):
        train(RunConfig.from_dict(values | {"out": str(tmp_path / "new"), "tasks": cosine}))


def test_a_head_for_other_labels_is_refused(tiny_folder, tmp_path):
    """Same number of labels, another meaning: shapes alone would not tell."""
    for name, labels in (("one", "ab"), ("two", "ac")):
        rows = "".join(f"good film\t{labels[i % 2]}\n" for i in range(4))
        (tmp_path / f"{name}.csv").write_text("text\tlabel\n" + rows, encoding="utf-8")
    values = {"data": str(tmp_path), "device": "cpu", "train": {"max_steps": 1}}
    task = {"type": "classification", "train": "one.csv", "dev": "one.csv"}
    first = {"weights": str(tiny_folder), "out": str(tmp_path / "run"), "tasks": {"news": task}}
    trained = train(RunConfig.from_dict(values | first))
    assert load_run(trained.folder).predict("news", ["good film"])[0] in ("a", "b")
    second = {"weights": str(tmp_path / "run" / "best"), "out": str(tmp_path / "new")}
    other = {"news": task | {"train": "two.csv", "dev": "two.csv"}}
    with pytest.raises(InputError, match="the head of news .* trained for the labels a, b, not for a, c"):
        train(RunConfig.from_dict(values | second | {"tasks": other}))


def test_weights_without_heads(tiny_folder, data, tmp_path):
    fresh = open_source(tiny_folder)
    assert fresh.trained == ("sts",)
    with pytest.raises(InputError, match="the head of sst is not trained: .*; run `multitask train` first"):
        fresh.predict("sst", ["good"])
    evaluation = fresh.evaluate(data)
    assert evaluation.scores.keys() == {"sts"} and evaluation.overall == {}
    assert sum(note.startswith("left out: the head of ") for note in evaluation.notes) == 2
    with pytest.raises(InputError, match="the head of sst is not trained"):
        evaluate(tiny_folder, data, tasks=["sst", "sts"])
    # What is predicted for a row without text, the training split says.
    for name in ("dev", "train"):
        shutil.copy(data / f"sts-{name}.csv", tmp_path)
    row = "\tid\tsentence1\tsentence2\tsimilarity\n0\ta\t\tfilm\t1\n"
    (tmp_path / "sts-dev.csv").write_text(row, encoding="utf-8")
    [file], _ = fresh.write_predictions(tmp_path, tmp_path)
    labels = [row.label for row in load_split(fresh.task("sts"), data, "train")[0].rows]
    assert float(read_predictions(file, fresh.task("sts").format)[0][1]) == pytest.approx(
        sum(labels) / len(labels)
    )
    (tmp_path / "sts-train.csv").unlink()
    with pytest.raises(InputError, match="sts: a row has no text, and no training split says"):
        fresh.write_predictions(tmp_path, tmp_path)


def test_a_pooler_that_is_not_there_is_refused_not_made_up(run_folder, tiny_folder, tmp_path):
    from safetensors.torch import save_file

    shutil.copytree(tiny_folder, tmp_path / "weights")
    tensors = load_file(tmp_path / "weights" / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler.")}
    save_file(kept, tmp_path / "weights" / "model.safetensors", metadata={"format": "pt"})
    bare = load_weights(tmp_path / "weights", {"sts": task_config("sts", {"pooling": "pooler"})})
    with pytest.raises(InputError, match="the model has no pooler"):
        bare.predict("sts", ["a"], ["b"])


def test_a_task_that_only_trains_cannot_predict(tiny_folder, data):
    run = open_source(tiny_folder, ["sts"])
    run.model.tasks["sts"] = TrainingTask("sts", run.model.tasks["sts"].config)
    with pytest.raises(InputError, match="sts can be trained, but predicts nothing"):
        run.predict("sts", ["a"], ["b"])
    assert run.evaluate(data).scores == {} and run.write_predictions("nowhere", data) == ([], [])


def test_folders_that_are_not_runs_and_devices(tiny_folder, run_folder, tmp_path):
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="device 'gpu' does not exist; did you mean 'cuda'"):
        find_device("gpu")
    with pytest.raises(InputError, match="is not the folder of a run; it holds weights, from which"):
        load_run(tiny_folder)
    with pytest.raises(InputError, match="is not the folder of a run; give the folder that"):
        load_run(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        open_source(tmp_path / "absent")
    shutil.copytree(run_folder, tmp_path / "run", ignore=shutil.ignore_patterns("best"))
    for open_it in (load_run, open_source):
        with pytest.raises(InputError, match="has no best/ yet"):
            open_it(tmp_path / "run")


@pytest.mark.slow
def test_similarities_of_real_weights_without_training(minilm, shared):
    """Cosines of mean-pooled vectors of all-MiniLM-L6-v2, which nothing here has trained."""
    if not (shared / "data" / "sts-dev.csv").is_file():
        pytest.skip(f"there is no {shared / 'data' / 'sts-dev.csv'}")
    scores = evaluate(minilm, shared / "data", "dev", ["sts"]).scores["sts"]
    assert scores["pearson"] == pytest.approx(0.8395, abs=1e-4)
    assert scores["spearman"] == pytest.approx(0.808, abs=1e-3)
