"""The commands of benchmarks/ but gpu.py, run through on a tiny model and little data.

The training commands compare their losses with those of transformers or peft, which is the oracle here too.
Run: pytest tests/benchmarks/test_commands.py
"""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from minbert import BertModel, InputError, Tokenizer
from minbert.kernels.dropout import Dropout
from multitask.data.collate import TaskBatch
from multitask.data.readers import integer_label, read_table
from multitask.data.sample import write_sample
from multitask.tasks.splits import part_of

ROOT = Path(__file__).parents[2]
COMMANDS = sorted({path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"comparison", "contenders"})
peers_warn = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_and_stands_in_the_documents(commands, capsys, name):
    with pytest.raises(SystemExit) as ended:
        commands(name).main(["--help"])
    assert ended.value.code == 0 and f"python benchmarks/{name}.py" in capsys.readouterr().out
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs").rglob("*.md"))
    assert f"benchmarks/{name}.py" in pages


# Encoding ---------------------------------------------------------------------------------------------------


@peers_warn
def test_encode(results, tiny_folder):
    found = results("encode", tiny_folder, "--sentences", 12, "--long", 3)
    rows = found["rows"]
    assert [(row["floor"], row["aim"]) for row in rows] == [
        *((1.5, 2.0), (2.6, 4.0), (1.35, 2.0)),
        *((1.6, 1.9), (2.6, 3.5)),
    ]
    assert [row["peer"].split()[-1] for row in rows] == ["fp32", "fp32", "bf16", "fp32", "fp32"]
    for row in (rows[0], rows[3]):  # the same vectors as the peer's
        assert "goal held" in row["difference"] and row["ratio"]["median"] > 0
    for row in (rows[1], rows[2], rows[4]):  # near to fp32, and not fp32 itself
        assert row["difference"].startswith("least cosine to fp32 0.99")
    assert "at most 64 tokens" in rows[3]["work"]  # the tiny model's positions
    long = [entry for entry in found["measured"] if "long" in entry["contender"]]
    assert len(long) == 3 and len(found["measured"]) == 7
    assert {entry["tokens a round"] for entry in long} == {3 * 64}  # reviews fill what they may


def test_scaling(results, tiny_folder):
    (row,) = results("scaling", tiny_folder, "--sentences", 4)["rows"]
    assert row["floor"] == 0.95 and "40 sentences" in row["work"]
    assert float(row["difference"].rpartition(" ")[2]) < 1e-5


@pytest.mark.slow
def test_encode_scale(results, tiny_folder):
    found = results("encode_scale", tiny_folder, "--lines", 20, 200, "--shared", 300)["measured"]
    assert [entry["lines"] for entry in found] == ["20", "200", "300", "300", "300"]
    assert "goal" in found[1]["found"] and "times one process" in found[4]["found"]
    assert all(0 < entry["seconds"] and entry["peak MB"] > 100 for entry in found)


def test_search(results, commands, tiny_folder, monkeypatch):
    monkeypatch.setattr(commands("search"), "SENTENCES", 100)
    exact, hnsw = results("search", tiny_folder, "--rows", 300, "--queries", 5)["measured"]
    assert exact["found"] == "5 queries at once" and hnsw["rows"] == "300"
    assert "goal held" in hnsw["found"] and hnsw["ms a query"] > 0


@pytest.mark.slow
def test_start_and_memory(results, tiny_folder):
    found = results("start", tiny_folder)
    (row,) = found["rows"]
    assert row["floor"] == 3.0 and row["difference"].startswith("cosine of both vectors 1.0000000")
    processes = {entry["process"]: entry for entry in found["measured"]}
    assert processes["import torch alone"]["peak MB"] < processes["ours"]["peak MB"]
    measured = results("memory", tiny_folder, "--sentences", 20, "--steps", 2)["measured"]
    assert [entry["whose"] for entry in measured] == ["ours", "ours", "ours", "transformers"]
    assert [entry["found"].partition(" vectors")[0] for entry in measured[:2]] == ["20", "200"]
    assert "goal held" in measured[1]["found"]
    losses = [float(entry["found"].split()[5].rstrip(";")) for entry in measured[2:]]
    assert all(0 < loss < 10 for loss in losses)
    assert all(entry["peak MB"] > 100 for entry in measured)


# Training ---------------------------------------------------------------------------------------------------


def apart(row: dict) -> float:
    """How far the losses of five steps are from the peer's."""
    count, _, figure = row["difference"].partition(" losses, ")
    assert count == "5"
    return float(figure.removesuffix(" relative"))


def test_lora_counts_forward_and_backward_through_what_a_step_needs(commands):
    """Forward through six layers or two, and back through two."""
    for pooling in ("pooler", "mean"):
        questions = commands("lora").questions(6)["last two layers", pooling]
        assert [question.passes for question in questions] == pytest.approx([8 / 6, 4 / 6])


@peers_warn
def test_train(results, tiny_folder, few):
    only = ("fine-tune, fp32, [CLS]", "bf16, mean head; transformers bf16, at")
    found = results("train", tiny_folder, few, "--batches", 2, "--only", *only)
    works = ["fine-tune, fp32, [CLS] head"] * 2 + ["fine-tune, bf16, mean head"]
    assert [row["work"] for row in found["rows"]] == works
    by_name = {entry["contender"]: entry for entry in found["measured"]}
    for row in found["rows"]:
        assert apart(row) < (1e-5 if "fp32" in row["work"] else 1e-2)
        precision, head = row["work"].split(", ")[1:]
        ours, peer = by_name[f"{head}: ours {precision}"], by_name[f"{head}: {row['peer']}"]
        same = ours["tokens a round"] == peer["tokens a round"]
        assert same == row["peer"].endswith("at its best")  # random batches are others
        assert row["tokens_per_second"] == pytest.approx(ours["tokens a round"] / ours["seconds a round"])
        assert row["ratio"]["median"] == pytest.approx(ours["tokens/s"] / peer["tokens/s"])


@peers_warn
@pytest.mark.parametrize("pooling", ["pooler", "mean"])
def test_timed_peer_drops_as_ours(tiny_folder, few, commands, pooling):
    """A tenth everywhere; nothing in a frozen encoder."""
    contenders = commands("contenders")

    def rates(model) -> tuple[set[float], set[float]]:
        return tuple(
            {m.p for m in model.modules() if isinstance(m, nn.Dropout) and m.training == training}
            for training in (True, False)
        )

    for freeze, expected in (("none", ({0.1}, set())), ("backbone", ({0.1}, {0.1}))):
        values = contenders.settings(tiny_folder, few, pooling, steps=1, freeze=freeze)
        training = contenders.OwnTraining(values)
        peer = contenders.peer_of(training)
        assert rates(training.model) == rates(peer) == expected
        rate = training.bert.attention_probs_dropout_prob
        assert rate == peer.bert.config.attention_probs_dropout_prob == 0.1
        assert peer.bert.training == training.model.encoder.training == (freeze == "none")
        trained = {name for name, parameter in peer.named_parameters() if parameter.requires_grad}
        assert ({name.split(".")[0] for name in trained} == {"classifier"}) == (freeze == "backbone")


@peers_warn
def test_lora(results, tiny_folder, few):
    only = (
        "bf16, mean head; peft bf16, at",
        "LoRA, fp32, [CLS] head; peft fp32, as",
        "two layers, fp32, mean",
    )
    found = results("lora", tiny_folder, few, "--batches", 2, "--only", *only)
    assert len(found["rows"]) == 4 and len(found["measured"]) == 7
    for row in found["rows"]:
        assert apart(row) < (1e-2 if "bf16" in row["work"] else 1e-5)
    # an epoch over the first 64 sentences, for each of the three
    names = {e["contender"]: e["tokens a round"] for e in found["measured"]}
    epochs = [tokens for name, tokens in names.items() if name.startswith("last two layers")]
    assert len(epochs) == 3 and len(set(epochs)) == 1


@pytest.mark.slow
def test_bert_base(results, tiny_folder, few):
    found = results("lora", tiny_folder, few, "--sentences", 4, "--only", "bert-base")
    assert len(found["rows"]) == 2
    assert len({entry["tokens a round"] for entry in found["measured"]}) == 1


@peers_warn
def test_heads(results, tiny_folder, few):
    sentences, epochs = 40, 3
    found = results("heads", tiny_folder, few, "--sentences", sentences, "--epochs", epochs)
    assert len(found["rows"]) == 4
    file = few / "ids-sst-train.csv"
    table = read_table(file, texts=["sentence"], label="sentiment", parse_label=integer_label(0, 4))
    texts = [row.texts[0] for row in part_of(table, sentences).kept(table)]
    encoded = Tokenizer.from_pretrained(tiny_folder).encode(texts, max_length=64)
    lengths = [len(entry.ids) for entry in encoded]
    # two layers of width 24 and 40; each multiplication comes with an addition
    linear = 2 * sum(lengths) * (4 * 24 * 24 + 2 * 24 * 40)
    attention = 2 * 2 * 24 * sum(length**2 for length in lengths)
    by_name = {entry["contender"]: entry for entry in found["measured"]}
    for row in found["rows"]:
        assert apart(row) < 1e-5
        ours = by_name[f"{row['work'].split(', ')[-1]}: ours"]
        assert row["gflops"] * ours["seconds a round"] == pytest.approx(2 * (linear + attention) / 1e9)
    assert {entry["tokens a round"] for entry in found["measured"]} == {epochs * sum(lengths)}


def test_a_row_that_does_not_exist_is_refused(commands, tiny_folder):
    rows = r"^--only fp64 leaves no row; the rows are fine-tune, fp32, \[CLS\] head"
    with pytest.raises(InputError, match=rows):
        commands("train").main([str(tiny_folder), "--only", "fp64"])


# Quality, costs, floors -------------------------------------------------------------------------------------


def test_the_interval_of_quality_is_students(commands):
    plain, ours = np.array([45.0, 45.4, 45.1, 44.4]), np.array([45.1, 44.3, 45.6, 44.6])
    mean, half = (ours - plain).mean(), 3.182446 * (ours - plain).std(ddof=1) / 2  # t of 3 degrees, sqrt(4)
    found = commands("quality").compare(plain.tolist(), ours.tolist())
    assert found == pytest.approx({"mean": mean, "low": mean - half, "high": mean + half})


def test_the_plain_arm_pads_draws_uniformly_and_has_torchs_dropout(commands, tiny, tiny_tokenizer, texts):
    def collate(examples) -> TaskBatch:
        inputs = tiny_tokenizer(examples)
        return TaskBatch(inputs, inputs.order, ())

    task = SimpleNamespace(collate=collate)
    model = SimpleNamespace(modules=tiny.modules, tasks={"sst": task})
    commands("quality").make_plain(SimpleNamespace(model=model))
    assert not task.collate(texts).inputs.layout.packed and task.uniform_batches
    drops = [module for module in tiny.modules() if isinstance(module, nn.Dropout)]
    assert drops and not any(isinstance(module, Dropout) for module in drops)


@pytest.mark.parametrize(
    "name, words, message",
    [
        ("quality", ["--tasks", "sst,ner"], r"^--tasks has 'ner'; choose from sst, sts$"),
        ("methods", ["--only", "lara"], r"^--only has 'lara'.*lora"),
    ],
)
def test_unknown_names_are_refused(commands, name, words, message):
    with pytest.raises(InputError, match=message):
        commands(name).main(["W", "D", *words])


def test_quality_methods_and_bag_of_words_run_on_little_data(commands, capsys, tiny_folder, tmp_path):
    write_sample(tmp_path)
    given = [str(tiny_folder), str(tmp_path), "--limit", "24", "--threads", "1", "--json"]
    commands("quality").main([*given, "--tasks", "sts", "--seeds", "1", "--precision", "fp32"])
    (found,) = json.loads(capsys.readouterr().out)["results"]
    assert len(found["plain"]) == len(found["ours"]) == 1
    assert found["mean"] == pytest.approx(found["ours"][0] - found["plain"][0])
    commands("methods").main([*given, "--only", "plain"])
    assert json.loads(capsys.readouterr().out)["steps"] == 3  # of 24 rows each
    for path in tmp_path.glob("*.csv"):
        lines = path.read_text("utf-8").splitlines(keepends=True)[:200]
        path.write_text("".join(lines), "utf-8") if path.name.startswith("sts-") else path.unlink()
    commands("bag_of_words").main([str(tmp_path), "--json"])
    found = json.loads(capsys.readouterr().out)["bag_of_words"]
    assert found.keys() == {"sts"} and 0.3 < found["sts"] < 1
    with pytest.raises(InputError, match="none of the course's training files"):
        commands("bag_of_words").main([str(tiny_folder)])


# Data and weights for tables --------------------------------------------------------------------------------


def test_weaken_begins_the_last_layers_anew(commands, tiny_folder, tmp_path):
    commands("weaken").main([str(tiny_folder), str(tmp_path / "weak"), "--layers", "1"])
    before, after = BertModel.from_pretrained(tiny_folder), BertModel.from_pretrained(tmp_path / "weak")
    new = [name for name, value in after.state_dict().items() if not value.equal(before.state_dict()[name])]
    assert new and all(name.startswith("encoder.layers.1.") for name in new)
    assert not after.encoder.layers[1].attention.query.bias.any()
    with pytest.raises(InputError, match="layers is 3; the model has 2"):
        commands("weaken").main([str(tiny_folder), str(tmp_path / "other"), "--layers", "3"])


def rows(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


def test_subset_is_a_random_part_in_the_files_order(commands, capsys, tmp_path):
    data, main = tmp_path / "data", commands("subset").main
    data.mkdir()
    for name in [f"{stem}-{split}" for stem in ("ids-sst", "quora", "sts") for split in ("train", "dev")]:
        with open(data / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="\t", lineterminator="\n")
            table.writerow(["", "id", "sentence"])
            table.writerows([i, f"id{i}", f'text\t"{i}"\nof two lines'] for i in range(40))
    main([str(data), str(tmp_path / "a"), "--train", "10", "--dev", "99"])
    assert "ids-sst-train.csv: 10 of 40 rows" in capsys.readouterr().out
    for stem in ("ids-sst", "quora", "sts"):
        whole, part = rows(data / f"{stem}-train.csv"), rows(tmp_path / "a" / f"{stem}-train.csv")
        assert part[0] == whole[0] and len(part) == 11
        places = [whole.index(row) for row in part]
        assert places == sorted(set(places)) and places != list(range(11))
        assert rows(tmp_path / "a" / f"{stem}-dev.csv") == rows(data / f"{stem}-dev.csv")
    main([str(data), str(tmp_path / "again"), "--train", "10"])
    main([str(data), str(tmp_path / "other"), "--train", "10", "--seed", "1"])
    parts = [(tmp_path / name / "sts-train.csv").read_bytes() for name in ("a", "again", "other")]
    assert parts[0] == parts[1] != parts[2]
    with pytest.raises(InputError, match="exists already; name a new folder"):
        main([str(data), str(data)])


@pytest.mark.slow  # six processes that train
def test_growth(results, tiny_folder, tmp_path):
    found = results("growth", tiny_folder, "--rows", "300,600,1200", "--steps", 4, "--keep", tmp_path)[
        "measured"
    ]
    assert [entry["rows"] for entry in found] == ["300", "600", "1,200", "exponent"]
    assert found[0]["bytes a row"] == "" and all(found[2][name] > 0 for name in ("first s", "MB second"))
    assert abs(found[3]["second s"]) < 2 and (tmp_path / "600" / "train.csv").is_file()
    with pytest.raises(InputError, match="--rows is 'many'; give whole numbers"):
        results("growth", tiny_folder, "--rows", "many")
