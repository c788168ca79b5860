"""MRPC and AG News: the layouts of their files, labels, quotes and scars."""

import os
from pathlib import Path

import pytest

from minbert import InputError
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.tasks.corpora import plain_text

SHARED = Path(os.environ.get("MINBERT_SHARED", Path(__file__).parents[4] / "shared")) / "data"

MRPC_FILE = """\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String
1\t7\t8\tHe said " no .\tHe refused .
0\t9\t7\t" Yes , " she said .\tShe left " early .
2\t1\t2\ta\tb
"""


def test_quotes_are_characters_and_rows_are_numbered(tmp_path):
    (tmp_path / "train.txt").write_text(MRPC_FILE, encoding="utf-8")
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


def news(**values):
    return make_task("news", task_config("news", {"train": "train.csv", "test": "test.csv"} | values))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Haiti #39;s straits", "Haiti's straits"),
        ("the  #36;10 million prize", "the $10 million prize"),
        ("#39;Marathon mouse #39; doubles", "'Marathon mouse' doubles"),
        ("he said  quot;yes quot; today", 'he said "yes" today'),
        ("Johnson  amp; Johnson, Marks amp; Spencer", "Johnson & Johnson, Marks & Spencer"),
        ("a second\\team of\\rocketeers", "a second team of rocketeers"),
        ("see &lt;A HREF=&quot;x&quot;&gt;the quote&lt;/A&gt; here", "see the quote here"),
        ("caf eacute; #151;open", "caf\u00e9\u2014open"),
        # What only looks like a scar stays.
        ("by phone; many times; or sales; AT&T", "by phone; many times; or sales; AT&T"),
        ("number #1; 3 < 5 and 7 > 6", "number #1; 3 < 5 and 7 > 6"),
    ],
)
def test_scars(text, plain):
    assert plain_text(text) == plain and plain_text(plain) == plain


def test_train_and_test_files_have_different_columns(tmp_path):
    (tmp_path / "train.csv").write_text('label,text,source\n4,"Chips, small #39;uns",x\n1,Talks fail,x\n')
    (tmp_path / "test.csv").write_text(
        'label,title,description\r\n3,"Bank, bought","A\\bank."\r\n2,Goal,\r\n'
    )
    task = news()
    train, test = task.load(tmp_path, "train"), task.load(tmp_path, "test")
    assert [(row.id, row.texts, row.label, row.line) for row in train.rows] == [
        ("0", ("Chips, small'uns",), "Sci/Tech", 2),
        ("1", ("Talks fail",), "World", 3),
    ]
    assert [(row.texts, row.label) for row in test.rows] == [(("Bank, bought A bank.",), "Business")]
    (reject,) = test.rejects  # what it has of text is enough to predict something
    assert "the text 'description' is empty" in reject.reason and reject.texts == ("Goal",)
    assert [task.target(row) for row in train.rows] == [3, 0]


def test_a_file_of_other_columns_or_labels_says_what_is_wrong(tmp_path):
    (tmp_path / "train.csv").write_text("label,headline\n1,a\n")
    with pytest.raises(InputError, match="no column 'text'.*the file has 'label', 'headline'"):
        news().load(tmp_path, "train")
    (tmp_path / "test.csv").write_text("label,text\n5,a\n0,b\nWorld,c\n2.5,d\n1.0,e\n2,f\n")
    examples = news().load(tmp_path, "test")
    assert [row.label for row in examples.rows] == ["World", "Sports"]
    assert ["not between 1 and 4" in r.reason for r in examples.rejects] == [True, True, False, False]
    own = news(labels=["x", "y"]).load(tmp_path, "test")  # numbered in their order
    assert [row.label for row in own.rows] == ["x", "y"] and len(own.rejects) == 4


@pytest.mark.skipif(not (SHARED / "agnews" / "test.csv").is_file(), reason=f"AG News is not in {SHARED}")
def test_the_real_test_file():
    task = make_task("news", task_config("news", {}))
    examples = task.load(SHARED, "test")
    assert len(examples) == 7600 and examples.rejects == ()
    counts = {label: sum(row.label == label for row in examples.rows) for label in task.labels}
    assert set(counts.values()) == {1900}
    text = " ".join(row.texts[0] for row in examples.rows)
    assert "\\" not in text and "#39;" not in text and "quot;" not in text and "&lt;" not in text
