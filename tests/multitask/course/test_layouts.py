"""Students' programs run on our BertModel, AdamW and tokenizer by the imports of docs/course.md alone.

Run: pytest tests/multitask/course/test_layouts.py
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from multitask.course.conversion import convert

pytest.importorskip("transformers", reason="compares with transformers' BertModel and BertTokenizer")

ROOT = Path(__file__).parents[3]
LAYOUTS = Path(__file__).parent / "layouts"


OF_TRANSFORMERS = {
    "from bert import BertModel": "from transformers import BertModel",
    "from tokenizer import BertTokenizer": "from transformers import BertTokenizer",
}


def imports() -> dict[str, str]:
    """The lines of docs/course.md that are changed, from the student's to ours."""
    text = (ROOT / "docs" / "course.md").read_text("utf-8")
    return {
        theirs: ours
        for ours, theirs in re.findall(r"^(from minbert import .*?)  # (from \w+ import \w+)$", text, re.M)
    }


@pytest.fixture
def student(tiny_folder, tiny_data, tmp_path):
    """The function `student(layout, imports, *words)`: runs the program beside data and weights."""
    shutil.copytree(tiny_data, tmp_path / "data")
    weights = tmp_path / "checkpoints" / "bert-base-uncased"
    shutil.copytree(tiny_folder, weights)
    config = json.loads((weights / "config.json").read_text())
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (weights / "config.json").write_text(json.dumps(config | rates))
    (tmp_path / "bert-base-uncased").symlink_to(weights)  # where transformers looks
    (tmp_path / "predictions").mkdir()

    def run(layout: str, imports: dict[str, str], *words: str) -> str:
        changed = []
        for path in (LAYOUTS / layout).glob("*.py"):
            text = path.read_text("utf-8")
            for theirs, ours in imports.items():
                changed += [theirs] * text.count(f"{theirs}\n")
                text = text.replace(f"{theirs}\n", f"{ours}\n")
            (tmp_path / path.name).write_text(text, "utf-8")
        assert sorted(changed) == sorted(imports)
        command = [sys.executable, "multitask_classifier.py", *words]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def numbers(shown: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+\.\d+", shown)]


def test_the_starters_layout(student, tmp_path):
    """Trains as with transformers' model, saves, loads, predicts; what it saves is imported with its head."""
    words = ("--option", "finetune", "--hidden_dropout_prob", "0")
    expected = numbers(student("starter", imports() | OF_TRANSFORMERS, *words))
    predictions = tmp_path / "predictions" / "sst-dev-output.csv"
    theirs = predictions.read_text()
    found = numbers(student("starter", imports(), *words))
    assert len(found) == 4 and found == pytest.approx(expected, rel=1e-3)
    assert predictions.read_text() == theirs and len(theirs.splitlines()) == 16
    file, weights = tmp_path / "finetune-2-0.001-multitask.pt", tmp_path / "checkpoints/bert-base-uncased"
    report = convert(file, tmp_path / "out", str(weights))
    assert report.sentiment == "sentiment" and [*report.left][0] == "paraphrase.weight"


def test_a_layout_of_one_file(student, tmp_path):
    """Pairs in one input, means, rates by part: as with transformers' model. Its heads have two layers."""
    expected = numbers(student("joined", imports() | OF_TRANSFORMERS, "--local_files_only"))
    found = numbers(student("joined", imports(), "--local_files_only"))
    assert len(found) == 6 and found == pytest.approx(expected, rel=1e-3)
    weights = tmp_path / "checkpoints/bert-base-uncased"
    report = convert(tmp_path / "model.pt", tmp_path / "out", str(weights))
    assert report.sentiment is None
    assert "heads.sst.3, a linear layer to 5 classes, is not imported as the head of sst" in report.notes[0]
