"""The command line: help without torch, one line and status 2 for what is wrong, nothing half-written."""

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from multitask import RunConfig
from multitask.cli import main as cli
from multitask.cli.main import build_parser

COMMANDS = (
    *("train", "groups", "resume", "evaluate", "predict", "validate", "doctor", "tasks"),
    *("ablate", "search", "report", "augment", "ensemble"),
    *("submit", "download", "import-checkpoint", "export", "check"),
)


@pytest.fixture
def command(capsys):
    """Runs a command line in this process: -> (status, standard output, standard error)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return exit.value.code, captured.out, captured.err

    return run


@pytest.fixture
def refused(command):
    """Runs a command line that has to be refused in one line: -> the line."""

    def run(*arguments):
        status, output, errors = command(*arguments)
        assert (status, output) == (2, ""), errors
        (line,) = errors.splitlines()
        assert line.startswith("error: ")
        return line.removeprefix("error: ")

    return run


@pytest.fixture
def arguments(tiny_folder, tiny_data, tmp_path):
    """The options of a tiny run into `tmp_path / "run"`."""
    return [
        *("--weights", tiny_folder, "--data", tiny_data, "--out", tmp_path / "run", "--device", "cpu"),
        *("--threads", "1", "--train.batch-size", "8", "--train.max-steps", "6"),
    ]


@pytest.fixture
def no_plots(monkeypatch):
    """Most of the time of a tiny run from the command line is its plots."""
    monkeypatch.setattr("multitask.inference.plots.write_plots", lambda run: [])


def test_the_package_and_every_help_load_no_torch():
    program = f"""
import contextlib, io, sys
import multitask, minbert
from multitask.cli import main as cli
for command in [[], *([name] for name in {COMMANDS!r})]:
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        cli.main([*command, "--help"])
    assert "usage: multitask" in text.getvalue(), command
heavy = {{"torch", "numpy", "tokenizers", "safetensors", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
    cli.main(["train", "--print-config", "--sst.pooling", "cls"])  # defaults stand in the tasks' classes
assert '"pooling": "cls"' in text.getvalue()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_mentions_every_command_and_every_option(command):
    status, output, _ = command("--help")
    assert status == 0 and all(re.search(rf"^    {name}\s", output, re.M) for name in COMMANDS)
    parser, *_ = build_parser()
    subparsers = next(action.choices for action in parser._actions if action.dest == "command")
    assert set(subparsers) == set(COMMANDS)
    for sub in subparsers.values():
        text = sub.format_help()
        for action in sub._actions:
            assert all(option in text for option in action.option_strings)
            assert action.help or not action.option_strings or action.dest in ("split", "precision"), action


def test_train_resume_and_the_same_run_again_elsewhere(command, refused, arguments, tmp_path, monkeypatch):
    status, output, errors = command("train", *arguments)
    run = tmp_path / "run"
    assert status == 0
    assert "sst            accuracy" in output and "overall_2024" in output and "mean_raw" in output
    assert "max-steps ends the run in epoch" in errors
    assert {path.name for path in (run / "plots").iterdir()} == {"loss.png", "sst-confusion.png"}
    monkeypatch.setattr("multitask.inference.plots.write_plots", lambda run: [])
    before = content_of(run)
    assert f"multitask resume {run}" in refused("train", *arguments)
    again = command("resume", run)
    assert again[0] == 0 and again[1].splitlines()[:8] == output.splitlines()[:8]
    assert again[2] == f"{run} is finished; nothing is left to train\n"
    assert content_of(run) == before
    # A config.json repeats a run into another folder.
    assert command("train", run / "config.json", "--out", tmp_path / "again")[0] == 0
    for name in ("best/model", "best/heads", "last/model", "last/training_state/tensors"):
        ours, theirs = (load_file(folder / f"{name}.safetensors") for folder in (run, tmp_path / "again"))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    moved = tmp_path / "moved"
    run.rename(moved)
    (moved / "scores.json").unlink()  # so that it is not finished
    assert command("resume", moved)[0] == 0 and not run.exists()
    (moved / "scores.json").unlink()
    (moved / "environment.json").write_text("")
    assert "environment.json is not JSON" in refused("resume", moved)
    (moved / "config.json").write_text("{}")
    assert "is not the folder of a run" in refused("resume", moved)


def test_print_config_prints_what_is_in_force_and_does_nothing(command, arguments, tmp_path):
    status, output, _ = command(
        "train", "paper-baseline", *arguments, "--sst.pooling", "cls", "--print-config"
    )
    assert status == 0 and not (tmp_path / "run").exists()
    config = RunConfig.from_dict(json.loads(output))
    assert (config.train.epochs, config.train.max_steps, config.tasks["sst"].pooling) == (5, 6, "cls")
    path = tmp_path / "printed.json"
    path.write_text(output)
    assert command("train", path, "--print-config")[1] == output


def test_groups_prints_every_tensor(command, refused, tiny_folder, tiny_data, arguments):
    options = ["--optim.layer-decay", "0.5", "--sst.lr", "0.25"]
    status, output, _ = command("groups", *arguments, *options, "--json")
    assert status == 0
    rows = {row["name"]: row for row in json.loads(output)["tensors"]}
    weights = load_file(tiny_folder / "model.safetensors")
    assert sum(row["size"] for name, row in rows.items() if name.startswith("encoder.")) == sum(
        tensor.numel() for tensor in weights.values()
    )
    assert rows["heads.sst.1.weight"]["lr"] == 0.25
    assert rows["encoder.embeddings.word.weight"]["lr"] == pytest.approx(5e-5 / 8)
    assert rows["encoder.pooler.dense.bias"]["state"] == "unused"
    text = command("groups", *arguments, *options)[1]
    assert all(name in text for name in rows) and "unused: 600 parameters" in text and "frozen: 0" in text
    assert "trained: " in command("groups", "--weights", "scratch", "--model.num-hidden-layers", "1")[1]
    # Labels that no option names are those of the data.
    mine = ["--tasks", "mine", "--mine.type", "classification", "--mine.train", "ids-sst-train.csv"]
    mine += ["--mine.text", "sentence", "--mine.label", "sentiment", "--weights", tiny_folder]
    output = command("groups", *mine, "--data", tiny_data, "--json")[1]
    assert '"heads.mine.1.bias", "size": 5' in output
    assert "labels" in refused("groups", *mine)


def test_tasks_lists_the_kinds(command):
    found = json.loads(command("tasks", "--json")[1])
    assert set(found) >= {"sst", "paraphrase", "sts", "classification", "pair", "similarity"}
    text = command("tasks")[1]
    assert all(kind in text for kind in found)


def test_a_score_that_is_no_number_is_null_in_json(command, tiny_folder, tiny_data):
    """The correlation of one row, with the cosine head that needs no training."""
    options = ["--weights", tiny_folder, "--data", tiny_data, "--limit", "1", "--json"]
    scores = json.loads(command("evaluate", *options)[1])["scores"]["sts"]
    assert scores["pearson"] is None and scores["spearman"] is None


def test_wrong_commands_and_options(refused):
    assert "did you mean 'train'" in refused("trian")
    assert "COMMAND" in refused()
    assert "did you mean '--data'" in refused("evaluate", "run", "--dat", "x")
    assert "did you mean '--train.epochs'" in refused("train", "--train.epoch", "3")
    assert "--split is 'tset'; did you mean 'test'" in refused("predict", "run", "--split", "tset")
    assert "--limit" in refused("evaluate", "run", "--limit", "many")
    assert "RUN" in refused("resume")
    done = subprocess.run([sys.executable, "-m", "multitask", "trian"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and re.fullmatch("error: .*\n", done.stderr)


def content_of(folder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without(arguments, option, *value):
    i = arguments.index(option)
    return [*arguments[:i], *([option, *value] if value else []), *arguments[i + 2 :]]


def test_wrong_input_to_train(refused, arguments, tmp_path, tiny_data):
    nowhere, file = tmp_path / "nowhere", tmp_path / "file"
    file.write_text("text")
    broken = tmp_path / "broken"
    broken.mkdir()
    for changed, message in (
        (without(arguments, "--weights"), "no weights; give --weights"),
        (without(arguments, "--weights", nowhere), f"there is no folder {nowhere}"),
        (without(arguments, "--weights", file), f"{file} is a file"),
        (without(arguments, "--weights", broken), f"{broken} holds no config.json"),
        (without(arguments, "--data"), "no data folder; give --data DIR, or --data sample"),
        (without(arguments, "--data", nowhere), f"data folder {nowhere} does not exist"),
        (without(arguments, "--data", file), f"data folder {file} is a file"),
        (without(arguments, "--data", broken), "sst has nothing to train on"),
        (without(arguments, "--out"), "no folder for the run; give --out"),
        (without(arguments, "--out", file), f"{file} is a file"),
        (without(arguments, "--out", file / "run"), "cannot be made, a file is in the way"),
        ([*arguments, "--tasks", "sst,stss"], "there is no task 'stss'; did you mean 'sts'"),
        ([*arguments, "--precision", "fp16"], "fp16 needs a CUDA device"),
        ([*arguments, "--device", "gpu"], "device 'gpu' does not exist; did you mean 'cuda'"),
        ([*arguments, "--select", "sts.pearsn"], "did you mean 'sts.pearson'"),
        ([*arguments, "--sts.train", "sts-trian.csv"], "sts-trian.csv; did you mean 'sts-train.csv'"),
        ([*arguments, "--sst.label", "lable"], "the training split of sst has no labels"),
        ([*arguments, "--sst.loss", "mse"], "sst.loss is 'mse'; choose from cross_entropy"),
    ):
        assert message in refused("train", *changed), changed
        assert not (tmp_path / "run").exists() and file.read_text() == "text"


def test_wrong_input_to_the_other_commands(refused, tiny_folder, tmp_path):
    nowhere = tmp_path / "nowhere"
    assert "is not the folder of a run" in refused("resume", nowhere)
    assert "it holds weights" in refused("resume", tiny_folder)
    assert "a run's folder or --weights is wanted, neither" in refused("evaluate")
    assert "--weights is wanted, both are" in refused("evaluate", "run", "--weights", tiny_folder)
    assert "is not the folder of a run; it does not exist" in refused("evaluate", nowhere)
    assert "is not the folder of a run; it does not exist" in refused("predict", nowhere)
    assert "--task and --text go together" in refused("predict", "run", "--task", "sst")
    assert "--limit is 0" in refused("evaluate", "run", "--limit", "0")
    assert "--threads is 0" in refused("evaluate", "--weights", tiny_folder, "--threads", "0")
    assert "does not exist" in refused("doctor", nowhere)
    assert "does not exist" in refused("validate", tmp_path, "--data", nowhere)
    assert "no weights; give --weights" in refused("groups")
    assert "there is no Python file" in refused("tasks", "--task-file", nowhere)


def test_a_loss_that_is_lost_stops_the_run_in_one_line(no_plots, command, arguments, tmp_path):
    options = ["--optim.lr", "1e30", "--train.max-steps", "30", "--optim.warmup", "0"]
    status, output, errors = command("train", *arguments, *options)
    assert (status, output) == (2, "") and "Traceback" not in errors
    line = errors.splitlines()[-1]
    assert line.startswith("error: the loss of ") and "lower --optim.lr" in line
    assert not list((tmp_path / "run").glob(".*")) and not (tmp_path / "run" / "last").exists()


def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint(no_plots, command, arguments, tmp_path):
    """Files may grow to 20 kB: the checkpoint's tensors do not fit."""
    assert command("train", *arguments, "--checkpoint.every-steps", "3")[0] == 0
    run = tmp_path / "run"
    config = json.loads((run / "config.json").read_text())
    config["train"]["max_steps"] = 12
    (run / "config.json").write_text(json.dumps(config))
    (run / "scores.json").unlink()  # so that it is not finished
    before = content_of(run / "last") | content_of(run / "best")
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, most))
    try:
        status, _, errors = command("resume", run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    line = errors.splitlines()[-1]
    assert status == 2 and "Traceback" not in errors
    assert (
        line.startswith("error: ")
        and "is larger than its file system" in line
        and "model.safetensors" in line
    )
    assert content_of(run / "last") | content_of(run / "best") == before
    assert not list(run.rglob("*.partial")) and not list(run.rglob("*.previous"))
    assert command("resume", run)[0] == 0


def test_the_sample_corpus_from_scratch(command, no_plots, tmp_path):
    """The README's command in small; its run keeps the corpus, so that it can be resumed and evaluated."""
    status, _, errors = command(
        *("train", "sample", "--out", tmp_path / "run", "--limit", "20", "--train.max-steps", "2"),
        *("--model.hidden-size", "8", "--model.num-attention-heads", "2", "--model.intermediate-size", "8"),
        *("--device", "cpu", "--threads", "1"),
    )
    assert status == 0, errors
    assert (tmp_path / "run" / "sample" / "ids-sst-train.csv").is_file()
    assert command("resume", tmp_path / "run")[0] == 0
    assert command("evaluate", tmp_path / "run", "--limit", "5", "--json")[0] == 0
    status, output, _ = command("predict", tmp_path / "run", "--task", "sst", "--text", "a good film")
    assert status == 0 and output.strip() in "01234"


def test_a_run_of_relative_folders_is_used_from_elsewhere(
    no_plots, command, arguments, tmp_path, monkeypatch
):
    """Its folder has absolute paths; a signal, also one before there is a folder, says how to go on."""
    data, weights = Path(arguments[3]), Path(arguments[1])
    monkeypatch.chdir(data.parent)
    options = [*without(arguments, "--data", data.name), "--tasks", "sst"]
    config = {"data": str(data), "weights": str(weights), "out": str(tmp_path / "run")}

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("multitask.training.trainer.load_inputs", interrupt)
        status, _, errors = command("train", *options)
        assert (status, errors) == (130, "interrupted; nothing was written, give the same command again\n")
    assert command("train", *options)[0] == 0
    monkeypatch.chdir(tmp_path)
    saved = json.loads((tmp_path / "run/config.json").read_text())
    assert {key: saved[key] for key in config} == config
    assert command("predict", "run")[0] == 0 and command("evaluate", "run")[0] == 0


def test_train_and_resume_say_on_a_terminal_at_once_that_they_load(command, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert command("train", "--weights", "W")[2].startswith("loading torch, the weights and the data\n")


def test_a_finished_run_is_extended(no_plots, command, refused, arguments, tmp_path):
    assert command("train", *arguments, "--tasks", "sst")[0] == 0
    status, _, errors = command("resume", tmp_path / "run", "--train.max-steps", "9")
    assert status == 0 and "after step 6 the run was given 9 steps in place of 6" in errors
    assert json.loads((tmp_path / "run/scores.json").read_text())["step"] > 0
    assert "give more" in refused("resume", tmp_path / "run", "--train.max-steps", "3")
