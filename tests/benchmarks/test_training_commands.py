"""benchmarks/train.py, lora.py, heads.py: run through on a tiny model and a few sentences of the sample.

Each command compares its losses with those of transformers or peft, which is the oracle here too.
Run: pytest tests/benchmarks/test_training_commands.py
"""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from random import Random

import pytest
from torch import nn

from minbert import InputError, Tokenizer
from multitask.data.readers import integer_label, read_table

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SENTENCES = 70  # two full batches and a ragged one


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with a few sentences of many lengths as SST, and nothing else."""
    folder = tmp_path_factory.mktemp("few")
    draw = Random(0)
    words = "the cat reads a great book , what good film is not dull ! under green river".split()
    lines = ["\tid\tsentence\tsentiment\n"]
    for number in range(SENTENCES):
        sentence = " ".join(draw.choices(words, k=draw.randint(1, 30)))
        lines.append(f"{number}\ts{number}\t{sentence}\t{draw.randint(0, 4)}\n")
    (folder / "ids-sst-train.csv").write_text("".join(lines), "utf-8")
    return folder


def run(name: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *map(str, arguments), "--threads", "1"],
        capture_output=True,
        text=True,
    )


def results(name: str, *arguments: object) -> dict:
    done = run(name, *arguments, "--repetitions", 1, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def apart(row: dict) -> float:
    """How far the losses of five steps are from the peer's."""
    count, _, figure = row["difference"].partition(" losses, ")
    assert count == "5"
    return float(figure.removesuffix(" relative"))


def contenders(found: dict) -> dict[str, dict]:
    return {entry["contender"]: entry for entry in found["measured"]}


@pytest.fixture
def commands(monkeypatch):
    """A function that imports a command by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module


def goals(questions) -> list[tuple[str, str, float, float]]:
    return [(q.ours, str(q.peer), q.floor, q.aim) for q in questions]


@pytest.mark.parametrize("pooling", ["pooler", "mean"])
def test_goals(commands, pooling):
    transformers, peft = "transformers {}, {}", "peft {}, {}"
    users, best = "as users have it", "at its best"
    assert goals(commands("train").questions(pooling)) == [
        ("ours fp32", transformers.format("fp32", users), 2.5, 3.5),
        ("ours fp32", transformers.format("fp32", best), 1.4, 1.7),
        ("ours bf16", transformers.format("fp32", users), 3.8, 5.0),
        ("ours bf16", transformers.format("bf16", users), 2.2, 3.0),
        ("ours bf16", transformers.format("bf16", best), 1.25, 1.6),
    ]
    groups = commands("lora").questions(6)
    assert goals(groups["all layers", pooling]) == [
        ("ours fp32", peft.format("fp32", users), 2.0, 2.5),
        ("ours fp32", peft.format("fp32", best), 1.4, 1.7),
        ("ours bf16", peft.format("bf16", users), 1.9, 2.5),
        ("ours bf16", peft.format("bf16", best), 1.25, 1.7),
    ]
    assert goals(groups["last two layers", pooling]) == [
        ("ours, first epoch", peft.format("fp32", users), 2.2, 3.0),
        ("ours, later epochs", peft.format("fp32", users), 3.7, 5.0),
    ]
    # forward through six layers or two, and back through two
    passes = [question.passes for question in groups["last two layers", pooling]]
    assert passes == pytest.approx([8 / 6, 4 / 6])
    assert goals(groups["bert-base", "mean"]) == [
        ("last four, first epoch", "ours, first four, first epoch", 1.4, 1.5),
        ("last four, later epochs", "ours, first four, later epochs", 2.7, 3.0),
    ]
    assert goals(commands("heads").questions(pooling, 10)) == [
        ("ours", "transformers, frozen encoder", 19.0, 25.0),
        ("ours", "transformers, vectors computed once", 2.0, 2.5),
    ]


def test_train(tiny_folder, data):
    only = ("fine-tune, fp32", "bf16, mean head; transformers bf16, at")
    found = results("train", tiny_folder, data, "--batches", 2, "--only", *only)
    assert [row["work"] for row in found["rows"]] == [
        *["fine-tune, fp32, [CLS] head"] * 2,
        *["fine-tune, fp32, mean head"] * 2,
        "fine-tune, bf16, mean head",
    ]
    by_name = contenders(found)
    for row in found["rows"]:
        assert apart(row) < (1e-5 if "fp32" in row["work"] else 1e-2)
        precision, head = row["work"].split(", ")[1:]
        ours, peer = by_name[f"{head}: ours {precision}"], by_name[f"{head}: {row['peer']}"]
        same = ours["tokens a round"] == peer["tokens a round"]
        assert same == row["peer"].endswith("at its best")  # random batches are others
        assert row["tokens_per_second"] == pytest.approx(ours["tokens a round"] / ours["seconds a round"])
        assert row["ratio"]["median"] == pytest.approx(ours["tokens/s"] / peer["tokens/s"])


@pytest.mark.parametrize("pooling", ["pooler", "mean"])
def test_timed_peer_drops_as_ours(tiny_folder, data, commands, pooling):
    """A tenth everywhere; nothing in a frozen encoder."""
    own_training, padded = commands("own_training"), commands("padded")

    def rates(model) -> tuple[set[float], set[float]]:
        return tuple(
            {m.p for m in model.modules() if isinstance(m, nn.Dropout) and m.training == training}
            for training in (True, False)
        )

    for freeze, expected in (("none", ({0.1}, set())), ("backbone", ({0.1}, {0.1}))):
        values = own_training.settings(tiny_folder, data, pooling, steps=1, freeze=freeze)
        training = own_training.OwnTraining(values)
        peer = padded.peer_of(training)
        assert rates(training.model) == rates(peer) == expected
        assert (
            training.bert.attention_probs_dropout_prob == peer.bert.config.attention_probs_dropout_prob == 0.1
        )
        assert peer.bert.training == training.model.encoder.training == (freeze == "none")
        trained = {name for name, parameter in peer.named_parameters() if parameter.requires_grad}
        assert ({name.split(".")[0] for name in trained} == {"classifier"}) == (freeze == "backbone")


def test_lora(tiny_folder, data):
    only = ("LoRA, fp32, [CLS]", "LoRA, bf16, mean head; peft bf16, at", "last two layers, fp32, mean")
    found = results("lora", tiny_folder, data, "--batches", 2, "--only", *only)
    assert len(found["rows"]) == 5 and len(found["measured"]) == 8
    for row in found["rows"]:
        assert apart(row) < (1e-2 if "bf16" in row["work"] else 1e-5)
    # an epoch over the first 64 sentences, for each of the three
    by_name = contenders(found)
    epochs = [by_name[name]["tokens a round"] for name in by_name if name.startswith("last two layers")]
    assert len(epochs) == 3 and len(set(epochs)) == 1


def test_heads(tiny_folder, data):
    sentences, epochs = 40, 3
    found = results("heads", tiny_folder, data, "--sentences", sentences, "--epochs", epochs)
    assert len(found["rows"]) == 4
    file = data / "ids-sst-train.csv"
    table = read_table(file, texts=["sentence"], label="sentiment", parse_label=integer_label(0, 4))
    texts = [row.texts[0] for row in table.rows[:sentences]]
    lengths = [
        len(entry.ids) for entry in Tokenizer.from_pretrained(tiny_folder).encode(texts, max_length=64)
    ]
    tokens = sum(lengths)
    # two layers of width 24 and 40; each multiplication comes with an addition
    linear = 2 * tokens * (4 * 24 * 24 + 2 * 24 * 40)
    attention = 2 * 2 * 24 * sum(length**2 for length in lengths)
    by_name = contenders(found)
    for row in found["rows"]:
        assert apart(row) < 1e-5
        ours = by_name[f"{row['work'].split(', ')[-1]}: ours"]
        assert row["gflops"] * ours["seconds a round"] == pytest.approx(2 * (linear + attention) / 1e9)
    assert {entry["tokens a round"] for entry in found["measured"]} == {epochs * tokens}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--only", "fp64"], r"^--only fp64 leaves no row; the rows are fine-tune, fp32, \[CLS\] head"),
        (["--batches", "0"], "^--batches is 0; give at least 1"),
    ],
)
def test_what_cannot_be_is_refused(tiny_folder, commands, arguments, message):
    with pytest.raises(InputError, match=message):
        commands("train").run([str(tiny_folder), *arguments])


@pytest.mark.slow
def test_bundled_sample_as_a_table(tiny_folder):
    done = run("train", tiny_folder, "--batches", 1, "--repetitions", 1, "--only", "bf16, mean head")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Fine-tuning on SST of the bundled sample, 1 batches of 32 a round\n")
    assert done.stdout.count("\n| fine-tune, bf16, mean head") == 3


@pytest.mark.slow
def test_bert_base(tiny_folder, data):
    found = results("lora", tiny_folder, data, "--sentences", 4, "--only", "bert-base")
    assert len(found["rows"]) == 2
    assert len({entry["tokens a round"] for entry in found["measured"]}) == 1
