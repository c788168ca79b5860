"""Rows that cannot be used: every cause is named with file and line, and too many of them stop a run."""

import json
import re

import pytest

from minbert import InputError
from multitask import load_run, train
from multitask.cli.main import run

# cause -> kind, name of the file, content, place of the first reject, its reason
CAUSES = {
    "true and false": ("pair", "t.jsonl", [{"label": True}], ":1", "'True' is not a finite number"),
    "half": ("pair", "t.jsonl", [{"label": 0.5}], ":1", "'0.5' is not a whole number"),
    "a list": ("classification", "t.jsonl", [{"label": [1]}], ":1", "the label 'label' is empty"),
    "NaN": ("classification", "t.jsonl", [{"label": float("nan")}], ":1", "NaN stands for a missing value"),
    "NUL": ("classification", "t.jsonl", [{"text": "a\0"}], ":1", "'text' holds a NUL character"),
    "half of a pair": ("classification", "t.jsonl", [{"text": "a\ud800"}], ":1", "half of a surrogate pair"),
    "no text": ("classification", "t.csv", "text,label\n,1\n", ":2", "the text 'text' is empty or not text"),
    "above 1": ("similarity", "t.jsonl", [{"label": 3.0}], ":1", "not between 0 and 1, which are own.low"),
    "fields": ("classification", "t.csv", "text;label\none;two;3\n", ":2", "3 fields where the header has 2"),
    "parts of speech": (
        "ner",
        "t.txt",
        "a DT\nb NN\n",
        ":1",
        "word 1 has the tag 'DT'; the tags of entities",
    ),
    "PER-B": (
        "ner",
        "t.txt",
        "a O\nb PER-B\n",
        ":1",
        "word 2 has the tag 'PER-B'; the tags of entities are O",
    ),
    "lower case": ("ner", "t.txt", "a o\nb b-per\n", ":1", "word 1 has the tag 'o'; the tags of entities"),
    "numbers": ("ner", "t.json", [{"words": ["a"], "tags": [1]}], ":1", "'tags' has numbers; give `labels`"),
    "unequal": ("ner", "t.json", [{"words": ["a"], "tags": ["O", "O"]}], ":1", "1 word and 2 tags"),
    "no line of JSON": ("classification", "t.jsonl", '{"text": "a", "label": 1}\n{"te', ":2", "not JSON"),
    "no rows": ("classification", "t.csv", "text,label\n", "", "no row of .*t.csv is usable"),
    "no file": ("classification", "s.csv", "", "", "there is no file .*t.csv; did you mean 's.csv'"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_ends_in_one_line_with_file_line_and_reason(cause, tiny_config, tmp_path, said):
    kind, name, content, place, reason = CAUSES[cause]
    if isinstance(content, list):
        row = {"text": "a", "sentence1": "a", "sentence2": "b", "label": 1}
        rows = [row | own if "words" not in own else own for own in content]
        content = json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogatepass"))
    own = {"type": kind, "train": "t.csv" if cause == "no file" else name, "dev": None, "test": None}
    config = tiny_config(data=str(tmp_path), tasks={"own": own})
    with pytest.raises(InputError, match=f"{re.escape(place)}.*{reason}" if place else reason) as caught:
        train(config)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
    assert not (tmp_path / "run").exists()
    if place:
        assert any(f"{name}{place} rejected: " in line for line in said)
        with pytest.raises(InputError, match="nothing to train on|is trained|labels and needs"):
            train(tiny_config(data=str(tmp_path), tasks={"own": own}, max_rejected=1.0))


def test_more_than_a_tenth_of_rejects_stops_unless_told_to_go_on(tiny_config, tmp_path, capsys):
    rows = [f"text {i},{'x' if i % 2 else 'y'}\n" for i in range(18)]
    for split, bad in (("train", 2), ("dev", 3)):  # 10 % and 14 %
        (tmp_path / f"{split}.csv").write_text("text,label\n" + "".join(rows) + ",x\n" * bad)
    own = {"type": "classification", "train": "train.csv", "dev": "dev.csv"}
    values = {"data": str(tmp_path), "tasks": {"own": own}, "train": {"epochs": 1}}
    message = r"own: 3 of 21 rows of .*dev.csv cannot be used; .*dev.csv:20 rejected: .*: --max-rejected 1"
    with pytest.raises(InputError, match=message):
        train(tiny_config(**values))
    train(tiny_config(**values, max_rejected=0.15))
    run_folder = load_run(tmp_path / "run", device="cpu")
    assert len(run_folder.write_predictions(tmp_path / "out", split="dev")[0]) == 1  # rejects are predicted
    words = ["evaluate", str(tmp_path / "run"), "--device", "cpu"]
    run(words)
    assert "own" in capsys.readouterr().out
    with pytest.raises(InputError, match="3 of 21 rows"):
        run([*words, "--max-rejected", "0.1"])
    assert capsys.readouterr().err.count("dev.csv:") == 3  # each of them, beside the error
    with pytest.raises(InputError, match="max_rejected is 2.0; it must be a share from 0 to 1"):
        tiny_config(max_rejected=2.0)
