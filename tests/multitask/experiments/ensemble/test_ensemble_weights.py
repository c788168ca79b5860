"""Averages of weights: the mean of every tensor, in a checkpoint that all commands take; what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from minbert import InputError
from multitask import train
from multitask.cli.main import run as multitask
from multitask.experiments.ensemble.weight_average import average_weights, mean_tensors, write_average
from multitask.inference.run import load_weights
from multitask.runtime.tracking import write_json

TENSORS = ("model.safetensors", "heads.safetensors")


@pytest.fixture(scope="module")
def sources(train_run):
    """Three runs of one form: other seeds, dropout, rates and losses."""
    focal = {"sst": {"loss": "focal"}, "paraphrase": {}, "sts": {}}
    heavy = {"sst": {"dropout": 0.0, "weight": 2.0}, "paraphrase": {}, "sts": {}}
    return [
        train_run("a"),
        train_run("bb", model={"hidden_dropout_prob": 0.0}, tasks=focal),
        train_run("ccc", optim={"lr": 3e-3, "head_lr": 1e-2}, tasks=heavy),
    ]


def mean_of(folders: list[Path], name: str) -> dict[str, np.ndarray]:
    files = [load_file(folder / name) for folder in folders]
    return {
        key: np.mean([file[key].numpy().astype(np.float64) for file in files], axis=0).astype(np.float32)
        for key in files[0]
    }


def assert_is_mean(out: Path, folders: list[Path]):
    for name in TENSORS:
        found, expected = load_file(out / name), mean_of(folders, name)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key].dtype == torch.float32
            assert np.array_equal(found[key].numpy(), value), key


def changed_copy(source: str, out: Path, change) -> str:
    """A copy of a run's best/, after change(folder)."""
    shutil.copytree(Path(source) / "best", out, ignore=shutil.ignore_patterns("checksums.json"))
    change(out)
    return str(out)


def test_every_tensor_is_the_mean(sources, tmp_path):
    result = average_weights(sources, tmp_path / "soup")
    assert_is_mean(tmp_path / "soup", [Path(source) / "best" for source in sources])
    first = Path(sources[0]) / "best"
    names = {path.name for path in (tmp_path / "soup").iterdir()}
    assert names == {path.name for path in first.iterdir()} - {"README.md", "checksums.json"} | {
        "average.json"
    }
    for name in ("config.json", "heads.json", "tokenizer.json"):
        assert (tmp_path / "soup" / name).read_bytes() == (first / name).read_bytes()
    assert result.kept == sources and result.scores == {}
    assert json.loads((tmp_path / "soup" / "average.json").read_text()) == result.as_dict()


def test_the_average_is_a_checkpoint_for_every_command(sources, tiny_data, tmp_path, capsys, tiny_config):
    result = average_weights(sources, tmp_path / "soup", data=tiny_data)
    capsys.readouterr()
    multitask(["evaluate", "--weights", str(tmp_path / "soup"), "--data", str(tiny_data), "--json"])
    assert json.loads(capsys.readouterr().out)["scores"] == result.scores
    multitask(["predict", str(tmp_path / "soup"), "--data", str(tiny_data), "--out", str(tmp_path / "p")])
    assert len(list((tmp_path / "p").iterdir())) == 3
    assert train(tiny_config(weights=str(tmp_path / "soup"), train={"max_steps": 1})).scores
    from transformers import AutoModel

    assert AutoModel.from_pretrained(tmp_path / "soup").config.hidden_size == 24


def test_checkpoints_of_one_run_and_copies(sources, tmp_path):
    folders = [f"{sources[1]}/last", f"{sources[0]}/best"]
    average_weights(folders, tmp_path / "soup")
    assert_is_mean(tmp_path / "soup", [Path(folder) for folder in folders])
    assert not (tmp_path / "soup" / "training_state").exists()
    shutil.copytree(folders[1], tmp_path / "copy")
    average_weights([folders[1], str(tmp_path / "copy")], tmp_path / "same")
    for name in TENSORS:
        ours, theirs = load_file(tmp_path / "same" / name), load_file(Path(folders[1]) / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_adapters_are_averaged_as_they_run_or_refused(train_run, tmp_path):
    found = [train_run(name, lora={"rank": 2}, train={"max_steps": 4}) for name in ("low", "lower")]
    average_weights(found, tmp_path / "soup")
    assert_is_mean(tmp_path / "soup", [Path(folder) / "best" for folder in found])
    assert not (tmp_path / "soup" / "adapter").exists() and Path(found[0], "best", "adapter").is_dir()
    changes = {"lora": {"rank": 2}, "adapter_per_task": True, "train": {"max_steps": 2}}
    with pytest.raises(InputError, match="has an adapter for each task.*--average predictions"):
        average_weights([train_run(name, **changes) for name in ("own", "owned")], tmp_path / "soup2")


def test_greedy_is_wortsmans(sources, tiny_data, tmp_path):
    """In the order of dev scores, each is kept with which the average is no worse, of four that differ."""

    def overall(folder):
        return load_weights(folder).evaluate(tiny_data).overall["overall_2024"]

    def turn_round(folder):
        heads = load_file(folder / "heads.safetensors")
        save_file({key: -50 * value for key, value in heads.items()}, folder / "heads.safetensors")

    given = [changed_copy(sources[0], tmp_path / "contrary", turn_round), *sources]
    folders = [Path(given[0]), *(Path(source) / "best" for source in sources)]
    values = [overall(folder) for folder in folders]
    order = sorted(range(4), key=lambda i: (-values[i], i))
    kept, best = [order[0]], values[order[0]]
    for number, i in enumerate(order[1:]):
        (tmp_path / f"{number}").mkdir()
        write_average([folders[k] for k in [*kept, i]], tmp_path / f"{number}")
        value = overall(tmp_path / f"{number}")
        if value >= best:
            kept, best = [*kept, i], value
    result = average_weights(given, tmp_path / "soup", "greedy", tiny_data)
    assert result.kept == [given[i] for i in kept] and len(kept) < 4
    written = result.as_dict()
    assert written["average"]["overall"]["overall_2024"] == pytest.approx(best) and best >= max(values)
    assert [single["overall"]["overall_2024"] for single in written["single"]] == values
    assert_is_mean(tmp_path / "soup", [folders[i] for i in kept])


def test_half_precision_becomes_single_and_whole_numbers_have_to_be_equal(tmp_path):
    for name, value in (("a", 1), ("b", 4)):
        tensors = {"half": torch.tensor([value / 3]).half(), "places": torch.arange(3)}
        save_file(tensors, tmp_path / f"{name}.safetensors")
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    found = mean_tensors(paths)
    halves = [float(load_file(path)["half"]) for path in paths]
    assert found["half"].dtype == torch.float32
    assert float(found["half"]) == np.float32(sum(halves) / 2)
    assert found["places"].tolist() == [0, 1, 2]
    save_file({"half": torch.zeros(1).half(), "places": torch.arange(3) + 1}, paths[1])
    with pytest.raises(InputError, match="places has whole numbers that differ in"):
        mean_tensors(paths)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("config.json layer_norm_eps", 1e-5, "layer_norm_eps is 1e-05, and 1e-12 in the first"),
        ("tokenizer_config.json do_lower_case", False, "the tokenizer's normalizer, by its hash, is"),
        ("tokenizer.json model vocab cat", 9999, "the tokenizer's model, by its hash, is"),
        ("heads.json tasks", {}, "the list of tasks is 'none', and 'paraphrase, sst, sts'"),
        ("heads.json tasks sst labels", ["4", "3"], r"the list of labels of sst is \['4', '3'\]"),
        ("heads.json tasks sst config pooling", "cls", "sst.pooling is 'cls', and 'mean'"),
        ("heads.json tasks sst config loss", "ordinal", "sst.loss is 'ordinal', and"),
    ],
)
def test_another_form_is_refused(sources, tmp_path, key, value, message):
    def edit(folder):
        name, *keys, last = key.split()
        content = inner = json.loads((folder / name).read_text(encoding="utf-8"))
        for step in keys:
            inner = inner[step]
        inner[last] = value
        write_json(folder / name, content)

    other = changed_copy(sources[0], tmp_path / "other", edit)
    with pytest.raises(InputError, match=f"other is of another form than .*best: .*{message}"):
        average_weights([sources[0], other], tmp_path / "soup")
    assert not (tmp_path / "soup").exists()


def test_other_shapes_are_refused(sources, tmp_path):
    heads = load_file(Path(sources[0], "best", "heads.safetensors"))
    name = next(name for name in heads if name.startswith("sst.") and name.endswith("bias"))
    wider, fewer = heads | {name: torch.zeros(6)}, {key: heads[key] for key in heads if key != name}
    wide, less = (
        changed_copy(
            sources[0], tmp_path / str(number), lambda folder, t=tensors: save_file(t, folder / TENSORS[1])
        )
        for number, tensors in enumerate((wider, fewer))
    )
    for pair, message in (
        ([sources[0], wide], rf"the shape of {name} in heads.safetensors is \[6\], and \[5\]"),
        ([sources[0], less], f"the shape of {name} in heads.safetensors is 'missing', and"),
        ([less, sources[0]], r"is \[5\], and 'missing' in the first"),
    ):
        with pytest.raises(InputError, match=message):
            average_weights(pair, tmp_path / "soup")


def test_what_is_refused_leaves_nothing_behind(sources, tmp_path):
    with pytest.raises(InputError, match="best is given twice"):
        average_weights([sources[0], f"{sources[0]}/best"], tmp_path / "soup")
    with pytest.raises(InputError, match="data folder .* does not exist"):
        average_weights(sources, tmp_path / "soup", data=tmp_path / "none")
    with pytest.raises(InputError, match="greedy keeps checkpoints by their dev scores; give --data DIR"):
        average_weights(sources, tmp_path / "soup", "greedy")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already; give --out the name of a new folder"):
        average_weights(sources, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def command(*words: str):
    return multitask(["ensemble", "--average", "weights", *words])


def test_the_command(sources, tmp_path, capsys):
    command(*sources, "--out", str(tmp_path / "one"), "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["kept"] == sources and found["average"]["overall"]["mean_raw"]
    command(*sources, "--out", str(tmp_path / "two"), "--method", "greedy")
    shown = capsys.readouterr().out
    assert "they were chosen on these dev examples" in shown and f"wrote {tmp_path / 'two'}" in shown
    (line,) = [line for line in shown.splitlines() if line.split()[:2] == ["all", "overall_2024"]]
    assert len(line.split()) == 2 + len(sources) + 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "folder for the averaged checkpoint is missing; give --out FOLDER"),
        (["--method", "weighted", "--out", "x"], "--method weighted is for predictions; .* plain, greedy"),
        (["--split", "test", "--out", "x"], "writes no prediction files; afterwards: multitask predict x"),
        (["--threads", "0", "--out", "x"], "--threads is 0; give at least 1"),
    ],
)
def test_options_that_do_not_fit(words, message):
    with pytest.raises(InputError, match=message):
        command("a", "b", *words)
