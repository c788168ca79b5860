"""A user's own kind of task, from whatever folder the command is called."""

import json
import subprocess
import sys

TASK_FILE = '''
from multitask import register
from multitask.tasks.generic import ClassificationTask


class Topic(ClassificationTask):
    """Topics."""

    defaults = {"text": "text", "label": "topic"}


register("topic", Topic)
'''


def multitask(*words, folder):
    command = [sys.executable, "-m", "multitask", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_is_found_again_from_another_folder(tiny_folder, tmp_path):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    (here / "topic.py").write_text(TASK_FILE, encoding="utf-8")
    rows = ["the dog is good\ta\na good film is dull\tb\n" for _ in range(6)]
    for split in ("train", "dev"):
        (here / f"{split}.tsv").write_text("text\ttopic\n" + "".join(rows), encoding="utf-8")
    words = [
        "--task-file",
        "topic.py",
        "--tasks",
        "topic",
        "--topic.train",
        "train.tsv",
        "--topic.dev",
        "dev.tsv",
    ]
    words += ["--weights", tiny_folder, "--data", here, "--out", here / "run", "--train.epochs", 1]
    trained = multitask("train", *words, folder=here)
    assert trained.returncode == 0, trained.stderr
    run = multitask("evaluate", here / "run", "--json", folder=elsewhere)
    assert run.returncode == 0, run.stderr
    expected = json.loads((here / "run" / "scores.json").read_text())["scores"]
    assert json.loads(run.stdout)["scores"] == expected

    words = ["--weights", here / "run" / "best", "--data", here, "--json"]
    refused = multitask("evaluate", *words, folder=elsewhere)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--task-file" in refused.stderr
    given = multitask("evaluate", *words, "--task-file", here / "topic.py", folder=elsewhere)
    assert json.loads(given.stdout)["scores"] == expected
