"""MRPC: its files' byte order mark, quotes, columns and ids."""

import os
from pathlib import Path

import pytest

from minbert import InputError
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task

SHARED = Path(os.environ.get("MINBERT_SHARED", Path(__file__).parents[4] / "shared")) / "data"
CONTENT = """\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String
1\t7\t8\tHe said " no .\tHe refused .
0\t9\t7\t" Yes , " she said .\tShe left " early .
2\t1\t2\ta\tb
"""


def test_quotes_are_characters_and_rows_are_numbered(tmp_path):
    (tmp_path / "train.txt").write_text(CONTENT, encoding="utf-8")
    task = make_task("mrpc", task_config("mrpc", {"train": "train.txt", "test": None}))
    examples = task.load(tmp_path, "train")
    assert [(row.id, row.texts, row.label) for row in examples.rows] == [
        ("0", ('He said " no .', "He refused ."), 1),
        ("1", ('" Yes , " she said .', 'She left " early .'), 0),
    ]
    assert "'2' is not between 0 and 1" in examples.rejects[0].reason
    assert task.format.stem == "mrpc" and task.format.values == "flag"
    with pytest.raises(InputError, match="task mrpc has no test split; set mrpc.test"):
        task.load(tmp_path, "test")


@pytest.mark.skipif(not (SHARED / "mrpc").is_dir(), reason=f"MRPC is not in {SHARED}")
@pytest.mark.parametrize(("split", "count", "same"), [("train", 4076, 2753), ("dev", 1725, 1147)])
def test_the_real_files(split, count, same):
    examples = make_task("mrpc", task_config("mrpc", {})).load(SHARED, split)
    assert len(examples) == count and examples.rejects == ()
    assert sum(row.label for row in examples.rows) == same
