"""Mistaken commands: each ends with one line that says what was given, what is accepted and what to do."""

import shlex
from pathlib import Path

import pytest

from minbert.cli.main import main as minbert
from multitask.cli.main import main as multitask

TRAIN = "multitask train --weights {W} --data {D} --out {new}"
MISTAKES = [  # the command; what its line has to have
    ("multitask", "missing: COMMAND (train, ", "multitask --help"),
    ("multitask trian", "'trian'", "did you mean 'train'", "choose from train, groups"),
    ("multitask train {W} {D} {new}", "takes CONFIG, options", "multitask train --help"),
    ("multitask train {W} --data {D}", "{W} is a folder", "give a TOML file or a preset", "--weights W"),
    (f"{TRAIN} --tasks sst sts", "CONFIG is 'sts', a task", "--tasks sst,sts"),
    (f"{TRAIN} --tasks sst,para", "no task 'para'", "did you mean 'paraphrase'", "choose from sst, "),
    (f"{TRAIN} --tasks", "--tasks needs a value: comma-separated"),
    (f"{TRAIN} --tasks sst,sst", "'sst,sst'", "name each task once, as in --tasks sst,"),
    (
        f"{TRAIN} --para.pooling cls",
        "no option --para.pooling",
        "'paraphrase'",
        "it has sst, paraphrase, sts",
    ),
    (f"{TRAIN} --sst.poolin cls", "no option --sst.poolin", "did you mean '--sst.pooling'", "--help"),
    (f"{TRAIN} --sst.pooling avg", "sst.pooling is 'avg'", "choose from cls, pooler, mean", "mean 'mean'"),
    (f"{TRAIN} --train.epochs two", "--train.epochs is 'two'", "give a whole number"),
    (f"{TRAIN} --train.epochs 0", "train.epochs is 0", "at least 1"),
    (f"{TRAIN} --optim.lr", "--optim.lr needs a value", "rate of the encoder", "multitask train --help"),
    (f"{TRAIN} --optim.lr big", "--optim.lr is 'big'", "give a number"),
    (
        f"{TRAIN} --device gpu",
        "device 'gpu'",
        "did you mean 'cuda'",
        "choose from auto, cpu, cuda, cuda:N, mps",
    ),
    (f"{TRAIN} --device cuda:x", "device 'cuda:x'", "choose from auto, cpu, cuda, cuda:N, mps"),
    (f"{TRAIN} --device meta", "device 'meta'", "choose from auto, cpu, cuda, cuda:N, mps"),
    (f"{TRAIN} --precision float16", "precision is 'float16'", "did you mean 'fp16'", "choose from auto, "),
    (f"{TRAIN} --lora.rank 0", "--lora.rank is 0", "needs --lora.rank of at least 1", "leave it out"),
    (f"{TRAIN} --smart.steps 2", "--smart.steps is 2", "needs --smart.weight or --smart.bregman"),
    (f"{TRAIN} --lora.targets q", "target 'q'", "choose from query, key"),
    (f"{TRAIN} --lora.layers last:9", "'last:9'", "the model has 2", "K up to 2"),
    (f"{TRAIN} --sts.pairs cross", "pairs is 'cross'", "pairs bi, or all three", "head mlp and loss mse"),
    (f"{TRAIN} --sst.pairs bi", "sst.pairs is 'bi'", "text2", "leave both out"),
    (f"{TRAIN} --sst.max-length 600", "sst.max-length is 600", "positions for 64", "give at most 64"),
    (f"{TRAIN} --option both", "--option is 'both'", "choose from finetune, "),
    (f"{TRAIN} --task-file {{D}}", "{D} is no file whose name ends in .py", "give the file that registers"),
    ("multitask train --weights {RUN} --data {D} --out {new}", "{RUN} is the folder of a run", "{RUN}/best"),
    (
        "multitask train --weights {D} --data {W} --out {new}",
        "{D} holds no config.json",
        "give a folder with",
    ),
    ("multitask train --weights {text} --data {D} --out {new}", "{text} is a file", "give the folder"),
    ("multitask train --weights '' --data {D} --out {new}", "--weights is empty", "give a text"),
    ("multitask train --weights {W} --data {W} --out {new}", "{W}/ids-sst-train.csv", "{W} holds", "--data"),
    ("multitask train --weights {W} --data {text} --out {new}", "{text} is a file", "give a folder"),
    ("multitask train --weights {W} --data {D} --out {RUN}", "{RUN} exists", "resume {RUN}"),
    ("multitask train {text} --weights {W} --data {D}", "{text} is not TOML", "mend the file"),
    ("multitask resume {missing}", "{missing} is not the folder of a run", "does not exist", "--out` made"),
    ("multitask resume {W}", "{W} is not the folder of a run", "multitask train --weights {W} --out RUN"),
    ("multitask resume {RUN}/best", "{RUN}/best is not the folder", "the run {RUN}; give that one"),
    ("multitask resume {RUN} --optim.lr 1", "no option --optim.lr", "its own settings", "--help"),
    ("multitask resume {RUN} --train.epochs 1", "--train.epochs is 1", "has 2", "give more"),
    ("multitask evaluate {missing}", "{missing} is not the folder of a run", "--out` made"),
    (
        "multitask evaluate {RUN} --split val",
        "--split is 'val'",
        "mean 'dev'",
        "choose from train, dev, test",
    ),
    ("multitask evaluate {RUN} --data {W}", "{W} has no file of the tasks", "--data the folder with them"),
    ("multitask evaluate {RUN} --limit many", "--limit is 'many'", "give a whole number"),
    ("multitask report {RUN} --data {W} --out {new}.html", "{W} has no file of the tasks", "give --data"),
    ("multitask ensemble {RUN} {RUN}/best --data {W}", "{W} has no file of the tasks", "give --data"),
    ("multitask predict {RUN} --task sst", "--task and --text go together", "give --text TEXT"),
    ("multitask predict {RUN} --task para --text a", "no task 'para'", "mean 'paraphrase'", "it has sst"),
    ("multitask predict {RUN} --dialect csv", "--dialect is 'csv'", "choose from code, handout"),
    ("multitask validate {text}", "{text} is a file", "give the folder that holds the prediction files"),
    ("multitask validate {D}", "{D} is checked against data files", "no folder `data`", "give --data DIR"),
    ("multitask validate {D} --data {W}", "{W} has no file of the course's tasks", "download --data DIR"),
    ("multitask submit {D} {new}.zip", "{D} has no folder predictions/", "multitask predict RUN --out"),
    ("multitask submit {new}.zip {D}", "OUT.zip is {D}", "not named as a zip", "submission.zip"),
    ("multitask doctor", "DIR or --data DIR", "neither is given"),
    ("multitask doctor {D} --max-length 90 --weights {W}", "--max-length is 90", "64 tokens", "at most that"),
    ("multitask export {RUN} {new}", "missing: --format (hf, sentence-transformers, onnx, peft)", "--help"),
    ("multitask report {RUN} --out page.pdf", "page.pdf", "ends in .html"),
    ("multitask search {D}", "{D} has no search", "--out` made"),
    ("multitask import-checkpoint {missing} {new}", "no file {missing}", ".pt file"),
    ("minbert encode --weights {RUN} {text} {new}.npy", "{RUN} is the folder of a run", "{RUN}/best"),
    ("minbert encode --weights {W} {text}", "missing: OUTPUT (", "minbert encode --help"),
    ("minbert encode --weights {W} {new} {text}", "no file {new}", "give a file or a folder of .txt"),
    ("minbert encode --weights {W} {text} {new} --max-length 9", "no option --max-length", "--help"),
    ("minbert similarity --weights {W} a b --device gpu", "device 'gpu'", "mean 'cuda'", "choose from auto"),
    ("minbert similarity --weights {W} a", "missing: TEXT (two texts", "minbert similarity --help"),
    ("minbert similarity --weights {W} a b --threads x", "--threads is 'x'", "give a whole number"),
    ("minbert nearest --weights {W} {text} cat", "'cat'", "takes CORPUS, options", "--help"),
    ("minbert inspect {D}", "{D} holds no config.json", "give a folder with config.json"),
    ("minbert check --modle x.py", "no option --modle", "did you mean '--model'", "minbert check --help"),
]
LIBRARIES = ("Errno", "invalid choice", "expected one", "required:", "Traceback", "NoneType", "object has no")


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake[0])
def test_a_mistaken_command(mistake, tiny_run, tiny_data, tiny_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("a cat\n")
    places = {"W": tiny_folder, "D": tiny_data, "RUN": tiny_run}
    places |= {name: tmp_path / name for name in ("new", "missing", "text")}
    command, *parts = (part.format(**places) for part in mistake)
    program, *words = shlex.split(command)
    with pytest.raises(SystemExit) as ended:
        {"minbert": minbert, "multitask": multitask}[program](words)
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out, shown.err.count("\n")) == (2, "", 1), shown.err
    assert shown.err.startswith("error: ") and not any(word in shown.err for word in LIBRARIES), shown.err
    assert all(part in shown.err for part in parts), shown.err
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert left == {"text"} and Path(tiny_run, "scores.json").is_file()


@pytest.mark.parametrize(("program", "main"), [("multitask", multitask), ("minbert", minbert)])
def test_the_version(program, main, capsys):
    from minbert import __version__

    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"minBERT {__version__}\n")
