"""The stand-ins for the starter's two programs: their flags, the runs they ask for, the files they write.

Run: pytest tests/multitask/course/test_programs.py
"""

import os
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from minbert import InputError
from multitask import load_run
from multitask.cli.files import validate_command
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.course import classifier, multitask_classifier
from multitask.course.flags import read_flags
from multitask.inference.run import read_run_config
from multitask.metrics.scores import accuracy, pearson
from multitask.tasks.predictions import read_predictions
from multitask.tasks.splits import load_split

FORMATS = {
    name: make_task(name, task_config(name, {})).format for name in ("sst", "paraphrase", "sts", "cfimdb")
}

ROOT = Path(__file__).parents[3]
QUICK = ("--threads", "1", "--epochs", "1", "--lr", "1e-3")
CODE = {  # each row of a file in the starter's own format
    "sst": (b"id \t Predicted_Sentiment \n", rb"\S+ , [0-4] \n"),
    "para": (b"id \t Predicted_Is_Paraphrase \n", rb"\S+ , [01]\.0 \n"),
    "sts": (b"id \t Predicted_Similiary \n", rb"\S+ , -?\d+\.\d+(e-?\d+)? \n"),
}


@pytest.fixture
def course(tiny_data, tmp_path, monkeypatch) -> Path:
    """A student's folder, where we stand, with data/: cfimdb too, and test files for all but paraphrase."""
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    for split in ("train", "dev"):
        rows = (data / f"ids-sst-{split}.csv").read_text("utf-8").splitlines()
        two_classes = [row[:-1] + str(int(row[-1]) % 2) for row in rows[1:]]
        (data / f"ids-cfimdb-{split}.csv").write_text("\n".join([rows[0], *two_classes]) + "\n", "utf-8")
    for name in ("ids-sst", "ids-cfimdb", "sts"):
        rows = (data / f"{name}-dev.csv").read_text("utf-8").splitlines()
        unlabelled = [row.rpartition("\t")[0] for row in rows]
        (data / f"{name}-test-student.csv").write_text("\n".join(unlabelled) + "\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "predictions").iterdir())


def config_of(program, *words):
    """The configuration that a program's command line asks for: of the classifier, those of its tasks."""
    read = program.read_configs if program is classifier else program.read_config
    return read(*read_flags(program.build_parser(), words))


def test_the_classifiers_defaults_are_the_starters():
    configs = config_of(classifier)
    assert list(configs) == ["sst", "cfimdb"]
    for name, batch_size in (("sst", 64), ("cfimdb", 8)):
        config = configs[name]
        assert (config.weights, config.data, config.device, config.freeze) == (
            *("bert-base-uncased", "data", "cpu", "backbone"),
        )
        assert (config.train.batch_size, config.train.epochs, config.train.seed) == (batch_size, 10, 11711)
        assert (config.optim.lr, config.optim.head_lr, config.optim.weight_decay) == (1e-3, 1e-3, 0)
        assert (config.optim.schedule, config.optim.warmup, config.optim.clip) == ("constant", 0, 0)
        assert (config.tasks[name].dropout, config.tasks[name].pooling) == (0.3, "pooler")
        assert config.out == str(Path("pretrain-10-0.001-classifier") / name)
        assert list(config.tasks) == [name] and config.model == {}


def test_the_multitask_programs_defaults_are_the_starters():
    config = config_of(multitask_classifier)
    assert (config.train.batch_size, config.train.epochs, config.train.seed) == (8, 10, 11711)
    assert (config.freeze, config.optim.lr, config.out) == ("backbone", 1e-3, "pretrain-10-0.001-multitask")
    assert [task.dropout for task in config.tasks.values()] == [0.3] * 3
    files = [task.train for task in config.tasks.values()]
    assert files == ["ids-sst-train.csv", "quora-train.csv", "sts-train.csv"]
    for words in (("--option", "finetune"), ("--fine-tune-mode", "full-model")):
        for config in (config_of(multitask_classifier, *words), *config_of(classifier, *words).values()):
            assert (config.freeze, config.optim.lr, config.optim.head_lr) == ("none", 1e-5, 1e-5)


def test_flags_and_the_options_of_train_go_together():
    words = "--batch-size 5 --lr 2e-4 --seed 7 --use_gpu --hidden_dropout_prob 0.5 --epochs 2 --out RUN"
    more = "--optim.clip 1 --sst.pooling cls --sts.pooling max --limit 9 --optim.head-lr=3e-4"
    config = config_of(multitask_classifier, *words.split(), *more.split())
    assert (config.train.batch_size, config.train.seed, config.train.epochs) == (5, 7, 2)
    assert (config.device, config.out, config.limit) == ("cuda", "RUN", 9)
    assert (config.optim.lr, config.optim.head_lr, config.optim.clip) == (2e-4, 3e-4, 1)
    assert [task.pooling for task in config.tasks.values()] == ["cls", "mean", "max"]
    assert config.tasks["sts"].dropout == 0.5
    both = config_of(classifier, "--batch_size", "5", "--sst.pooling", "cls")
    assert [config.train.batch_size for config in both.values()] == [5, 8]
    assert [config.tasks[name].pooling for name, config in both.items()] == ["cls", "pooler"]
    assert list(config_of(classifier, "--tasks", "cfimdb")) == ["cfimdb"]


def test_wrong_words():
    for program, words, message in (
        (multitask_classifier, "--sst_trian x", "no option --sst_trian; did you mean '--sst_train'"),
        (multitask_classifier, "--sst.poolin cls", "no option --sst.poolin; did you mean '--sst.pooling'"),
        (multitask_classifier, "--ner.pooling cls", "there is no option --ner.pooling"),
        (multitask_classifier, "--option fine", "is 'fine'; did you mean 'finetune'"),
        (multitask_classifier, "there", "nothing to do with 'there'"),
        (classifier, "--tasks sst,sts", "no task 'sts' here"),
        (classifier, "--sts.pooling cls", "no task 'sts' here"),
        (classifier, "--limt 3", "no option --limt; did you mean '--limit'"),
    ):
        with pytest.raises(InputError, match=message):
            program.run(words.split())


def test_the_classifier_writes_what_the_starter_writes(course, tiny_folder, capsys):
    words = ["--weights", str(tiny_folder), "--option", "finetune", *QUICK]
    classifier.run([*words, "--dev_out", "mine.txt"])
    names = [f"finetune-{task}-{split}-out.csv" for task in ("cfimdb", "sst") for split in ("dev", "test")]
    assert written(course) == names
    shown = capsys.readouterr().out
    assert "--dev_out and --test_out have no effect, as in the starter" in shown
    assert not (course / "mine.txt").exists()
    run = load_run(course / "finetune-1-0.001-classifier" / "sst", "cpu")
    assert f"dev acc :: {run.scores['scores']['sst']['accuracy']:.3f}\n" in shown
    for task in ("sst", "cfimdb"):
        run = load_run(course / "finetune-1-0.001-classifier" / task, "cpu")
        for split in ("dev", "test"):
            path = course / "predictions" / f"finetune-{task}-{split}-out.csv"
            assert re.fullmatch(CODE["sst"][0] + b"(" + CODE["sst"][1] + b"){15}", path.read_bytes())
            rows = load_split(run.task(task), course / "data", split)[0].rows
            predicted = run.predict(task, [row.texts[0] for row in rows])
            expected = [(row.id, str(value)) for row, value in zip(rows, predicted, strict=True)]
            assert read_predictions(path, FORMATS[task]) == expected
            if split == "dev":
                score = accuracy(predicted, [row.label for row in rows])
                assert score == pytest.approx(run.scores["scores"][task]["accuracy"])


def test_the_multitask_program_writes_what_the_starter_writes(course, tiny_folder, capsys):
    """The same command writes the other dialect, and trains nothing again."""
    words = ["--weights", str(tiny_folder), "--option", "finetune", *QUICK]
    words += ["--out", "RUN", "--sts_test_out", "elsewhere/sts.csv"]
    multitask_classifier.run(words)
    files = [("sst", "dev"), ("sst", "test"), ("para", "dev"), ("sts", "dev")]
    paths = {path: course / "predictions" / f"{path[0]}-{path[1]}-output.csv" for path in files}
    assert written(course) == sorted(path.name for path in paths.values())
    paths["sts", "test"] = course / "elsewhere" / "sts.csv"
    for (stem, _), path in paths.items():
        header, row = CODE[stem]
        assert re.fullmatch(header + b"(" + row + b"){15}", path.read_bytes()), path.read_bytes()[:200]
    shown = capsys.readouterr()
    assert "quora-test-student.csv" in shown.err and "left out" in shown.err  # said, and not fatal
    run = load_run(course / "RUN", "cpu")
    scores = run.scores["scores"]
    assert f"dev sentiment acc :: {scores['sst']['accuracy']:.3f}\n" in shown.out
    assert f"dev paraphrase acc :: {scores['paraphrase']['accuracy']:.3f}\n" in shown.out
    assert f"dev sts corr :: {scores['sts']['pearson']:.3f}\n" in shown.out
    assert f"mean_raw :: {run.scores['overall']['mean_raw']:.3f}\n" in shown.out
    rows = load_split(run.task("sts"), course / "data", "dev")[0].rows
    predictions = [float(value) for _, value in read_predictions(paths["sts", "dev"], FORMATS["sts"])]
    assert pearson(predictions, [row.label for row in rows]) == pytest.approx(scores["sts"]["pearson"])
    shutil.rmtree(course / "predictions")
    multitask_classifier.run([*words, "--dialect", "handout"])
    assert written(course) == [f"{stem}-out.csv" for stem in ("para-dev", "sst-dev", "sst-test", "sts-dev")]
    content = (course / "predictions" / "sts-dev-out.csv").read_bytes()
    assert re.fullmatch(rb"id, Predicted_Similarity\n(\S+, -?\d+\.\d+(e-?\d+)?\n){15}", content)


def test_files_under_other_names(course, tiny_folder):
    (course / "mine").mkdir()
    words = []
    for flag, stem in (("sst", "ids-sst"), ("para", "quora"), ("sts", "sts")):
        for split in ("train", "dev"):
            shutil.move(course / "data" / f"{stem}-{split}.csv", course / "mine" / f"{flag}.{split}.txt")
            words += [f"--{flag}_{split}", f"mine/{flag}.{split}.txt"]
    shutil.move(course / "data" / "sts-test-student.csv", course / "mine" / "test")
    shutil.rmtree(course / "data")
    multitask_classifier.run(
        [*words, "--sts_test=mine/test", "--weights", str(tiny_folder), "--out", "RUN", *QUICK]
    )
    assert written(course) == [
        f"{name}.csv" for name in ("para-dev-output", "sst-dev-output", "sts-dev-output", "sts-test-output")
    ]
    assert set(load_run(course / "RUN", "cpu").evaluate().scores) == {"sst", "paraphrase", "sts"}


def test_the_same_command_goes_on_and_another_is_refused(course, tiny_folder, capsys):
    words = ["--weights", str(tiny_folder), *QUICK, "--tasks", "sst", "--out", "RUN"]
    classifier.run(words)
    before = (course / "RUN" / "sst" / "metrics.jsonl").read_text()
    first = (course / "predictions" / "pretrain-sst-dev-out.csv").read_bytes()
    shutil.rmtree(course / "predictions")
    classifier.run(words)
    assert "holds this run already" in capsys.readouterr().err
    assert (course / "RUN" / "sst" / "metrics.jsonl").read_text() == before  # nothing was trained again
    assert (course / "predictions" / "pretrain-sst-dev-out.csv").read_bytes() == first
    with pytest.raises(InputError, match="something else than a run with these settings; give another --out"):
        classifier.run([*words, "--seed", "3"])
    assert read_run_config(course / "RUN" / "sst").train.seed == 11711


@pytest.mark.parametrize(("name", "classes"), [("sst", 5), ("cfimdb", 2)])
def test_the_edition_of_carnegie_mellon(course, tiny_folder, capsys, name, classes):
    """One data set of lines `label ||| sentence`, whose labels say which; predictions are such lines too."""
    (course / "own").mkdir()
    sentences = {}
    for split in ("train", "dev", "test"):
        rows = (
            (course / "data" / f"ids-sst-{'train' if split == 'train' else 'dev'}.csv")
            .read_text()
            .splitlines()
        )
        fields = [row.split("\t") for row in rows[1:]]
        lines = [f"{int(label) % classes} ||| {text.title()}" for *_, text, label in fields]
        sentences[split] = [text for *_, text, _ in fields]
        (course / "own" / f"{split}.txt").write_text("\n".join(lines) + "\n")
    shutil.rmtree(course / "data")
    words = ["--weights", str(tiny_folder), "--option", "finetune", *QUICK, "--out", "RUN"]
    files = [word for split in ("train", "dev", "test") for word in (f"--{split}", f"own/{split}.txt")]
    classifier.run([*words, *files, "--dev_out", "predicted.txt"])
    run = load_run(course / "RUN" / name, "cpu")
    for path, split in (("predicted.txt", "dev"), (f"{name}-test-output.txt", "test")):
        predicted = run.predict(name, sentences[split])
        expected = [f"{label} ||| {text}" for label, text in zip(predicted, sentences[split], strict=True)]
        assert (course / path).read_text().splitlines() == expected
    shown = capsys.readouterr().out
    accuracy = run.scores["scores"][name]["accuracy"]
    assert f"dev acc :: {accuracy:.3f}\n" in shown and f"test acc :: {accuracy:.3f}\n" in shown
    assert not (course / "predictions").exists()
    with pytest.raises(InputError, match="--dev and --test go with --train"):
        classifier.run([*words, "--dev", "own/dev.txt"])
    (course / "own" / "train.txt").write_text("0 ||| good\n1 dull\n")
    with pytest.raises(
        InputError, match=r"train.txt:2 rejected: it has no \|\|\| between label and sentence"
    ):
        classifier.run([*words[:-1], "AGAIN", *files])


def test_the_second_task_is_looked_at_before_the_first_is_trained(course, tiny_folder):
    words = ["--weights", str(tiny_folder), *QUICK, "--out", "RUN"]
    (course / "RUN" / "cfimdb").mkdir(parents=True)
    (course / "RUN" / "cfimdb" / "mine").touch()
    with pytest.raises(InputError, match="cfimdb holds something else"):
        classifier.run(words)
    (course / "RUN" / "cfimdb" / "mine").unlink()
    (course / "data" / "ids-cfimdb-train.csv").unlink()
    with pytest.raises(InputError, match="ids-cfimdb-train.csv; fetch .* `multitask download --data data`"):
        classifier.run(words)
    assert not (course / "RUN" / "sst").exists()


@pytest.mark.slow
def test_the_bundled_corpus_and_the_module_as_a_program(tmp_path, monkeypatch):
    """No data folder, no download; the files are valid."""
    small = "--model.hidden-size 16 --model.num-hidden-layers 1 --model.num-attention-heads 2"
    small += " --model.intermediate-size 16 --model.max-position-embeddings 32 --vocab-size 400"
    words = ["--data", "sample", "--weights", "scratch", "--limit", "60", *QUICK, *small.split()]
    monkeypatch.chdir(tmp_path)
    multitask_classifier.run([*words, "--option", "finetune"])
    done = subprocess.run(
        [sys.executable, "-m", "multitask.course.classifier", *words, "--option", "finetune"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("dev acc :: 0.") == 2
    assert len(written(tmp_path)) == 10
    asked = Namespace(folder=tmp_path / "predictions", data="sample", tasks=None, split=None, json=True)
    assert validate_command(asked) == 0


def test_help_and_errors_load_no_torch(tmp_path):
    code = (
        "import sys; from multitask.course import classifier, multitask_classifier\n"
        "for program in (classifier, multitask_classifier):\n"
        "    for words in (['--help'], ['--sst_trian', 'x']):\n"
        "        try: program.run(words)\n"
        "        except (SystemExit, ValueError) as error: print(type(error).__name__)\n"
        "assert 'torch' not in sys.modules"
    )
    command, environment = [sys.executable, "-c", code], {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("InputError") == 2


def test_real_data(shared, tiny_folder, tmp_path, monkeypatch, capsys):
    """The first rows of the course's own files; that of paraphrase's test split is missing there."""
    monkeypatch.chdir(tmp_path)
    words = f"--data {shared / 'data'} --weights {tiny_folder} --limit 16 --threads 1 --epochs 1".split()
    for flag, stem in (("sst", "ids-sst"), ("para", "quora"), ("sts", "sts")):
        for split in ("train", "dev", "test-student"):
            if (path := shared / "data" / f"{stem}-{split}.csv").is_file():
                with open(path, encoding="utf-8") as file:
                    (tmp_path / path.name).write_text("".join(next(file) for _ in range(30)), "utf-8")
                words += [f"--{flag}_{split.removesuffix('-student')}", path.name]
    multitask_classifier.run(words)
    assert "para-test-output.csv" not in written(tmp_path) and len(written(tmp_path)) == 5
    assert "quora-test-student.csv" in capsys.readouterr().err
    for name in ("sst", "sts"):
        rows = read_predictions(tmp_path / "predictions" / f"{name}-test-output.csv", FORMATS[name])
        assert len(rows) == 29 and all(re.fullmatch("[0-9a-f]{25}", row_id) for row_id, _ in rows)
