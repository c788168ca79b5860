"""NLI triplets: read as they come, with the contradiction as a hard negative of its own premise."""

from itertools import islice

import pytest
import torch

from minbert import InputError
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task

FILE = """sent0,sent1,hard_neg
"A man, a cat and a dog.",A man is there.,Nobody is there.
Good.,"It is ""good"".",Bad.
,Empty.,Rejected.
"""


@pytest.fixture
def nli(tmp_path):
    (tmp_path / "nli").mkdir()
    (tmp_path / "nli" / "nli_for_simcse.csv").write_text(FILE, encoding="utf-8")
    return make_task("nli", task_config("nli", {})), tmp_path


def test_triplets_are_read_from_the_default_file(nli):
    task, folder = nli
    examples = task.load(folder, "train")
    assert [row.texts for row in examples.rows] == [
        ("A man, a cat and a dog.", "A man is there.", "Nobody is there."),
        ("Good.", 'It is "good".', "Bad."),
    ]
    assert {row.label for row in examples.rows} == {None}
    assert [(reject.line, reject.reason) for reject in examples.rejects] == [
        (4, "the text 'sent0' is empty or not text")
    ]


def test_a_contradiction_is_a_candidate_of_every_premise(nli, on_tiny, tiny_tokenizer):
    """-log(exp(c+ / t) / sum(exp(c+ / t) + exp(c- / t))) (Gao et al. 2021, equation 5)."""
    task, folder = nli
    rows = task.load(folder, "train").rows
    task.prepare_training(rows)
    model = on_tiny(task)
    batch = task.collate(task.tokenize(tiny_tokenizer, rows))
    assert len(batch.inputs) == 6 and batch.targets.shape == (2, 3)
    with torch.no_grad():
        outputs, loss = model("nli", batch.inputs).double(), model.loss("nli", batch)
    unit = outputs / outputs.norm(dim=-1, keepdim=True)
    terms = [
        [(unit[i, 0] @ unit[j, side] / 0.05).exp() for j in range(2) for side in (1, 2)] for i in range(2)
    ]
    expected = -sum((terms[i][2 * i] / sum(terms[i])).log() for i in range(2)) / 2
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)


def test_several_hard_negatives_or_none(nli):
    _, folder = nli
    for negatives in ([], ["hard_neg", "sent1"]):
        task = make_task("nli", task_config("nli", {"negatives": negatives}))
        assert {len(row.texts) for row in task.load(folder, "train").rows} == {2 + len(negatives)}
    task = make_task("nli", task_config("nli", {"negatives": ["hard_ngeative"]}))
    with pytest.raises(InputError, match="no column 'hard_ngeative'"):
        task.load(folder, "train")


def test_the_shared_triplets(shared, tmp_path):
    with open(shared / "data" / "nli" / "nli_for_simcse.csv", encoding="utf-8") as file:
        (tmp_path / "nli.csv").write_text("".join(islice(file, 2001)), encoding="utf-8")
    task = make_task("nli", task_config("nli", {"train": "nli.csv"}))
    examples = task.load(tmp_path, "train")
    assert len(examples.rows) == 2000 and not examples.rejects
    [note] = task.prepare_training(examples.rows)
    assert note.endswith("of 2,000 pairs are known positives of another; left out of each other's negatives")
