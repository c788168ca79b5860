"""Files that somebody made to do harm: nothing runs, hangs, or leaves its folder.

Pickles are in test_import_checkpoint.py, test_course_files.py and test_load.py, links in a folder to hand in
in test_submit.py, names of a hub in test_hub.py.

Run: pytest tests/multitask/cli/test_malicious_files.py
"""

import json
import os
import shutil
import signal

import pytest

from minbert import BertModel, InputError
from multitask import load_run
from multitask.cli.main import main, run
from multitask.runtime.locks import take_lock

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m"


@pytest.fixture
def copied(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "copied")


@pytest.fixture
def within_seconds():
    """Ends a test that hangs."""

    def ended(*_):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, ended)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "scores.json",
        "best/config.json",
        "best/heads.json",
        "best/heads.safetensors",
        "best/model.safetensors",
        "best/tokenizer.json",
        "best/tokenizer_config.json",
    ],
)
def test_a_pipe_in_place_of_a_file_is_refused(copied, name, within_seconds):
    (copied / name).unlink(missing_ok=True)
    os.mkfifo(copied / name)
    with pytest.raises((InputError, OSError)) as refused:
        load_run(copied)
    assert "\n" not in str(refused.value) and str(copied) in str(refused.value)


@pytest.mark.parametrize("name", ["sst-dev", "quora-dev", "sts-dev"])
def test_a_pipe_in_place_of_data_is_refused(tiny_run, tiny_data, tmp_path, name, within_seconds):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    [path] = data.glob(f"*{name}.csv")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises((InputError, OSError), match=path.name):
        run(["evaluate", str(tiny_run), "--data", str(data), "--device", "cpu"])


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a/../../secret.safetensors"])
def test_weights_outside_of_their_folder_are_not_read(tiny_folder, tmp_path, name):
    folder = shutil.copytree(tiny_folder, tmp_path / "folder")
    (folder / "model.safetensors").rename(tmp_path / "secret.safetensors")
    (folder / "a").mkdir()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"embeddings.word_embeddings.weight": name}}))
    with pytest.raises(InputError, match="index.json names .*, which leads out of"):
        BertModel.from_pretrained(folder)


def test_a_lock_that_is_a_link_or_a_pipe_harms_no_other_file(tmp_path, within_seconds):
    victim, lock = tmp_path / "victim", tmp_path / "cell.lock"
    victim.write_text("kept")
    lock.symlink_to(victim)
    with pytest.raises(InputError, match="cell.lock cannot be locked"):
        take_lock(lock)
    assert victim.read_text() == "kept"
    lock.unlink()
    os.mkfifo(lock)
    try:
        take_lock(lock)
    except InputError:
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell.lock", "victim"]


def test_labels_and_names_are_no_commands_for_the_terminal(tmp_path, capfd):
    """Of a label and a text in data, a task, a folder that is not there."""
    rows = "".join(f"good {ESCAPE}\ta{ESCAPE}\nbad\tb\n" for _ in range(4))
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("text\tlabel\n" + rows, encoding="utf-8")
    toml = tmp_path / "tasks.toml"
    toml.write_text('[tasks.mine]\ntype = "classification"\ntrain = "train.tsv"\ndev = "dev.tsv"\n')
    for words, part in (
        (["doctor", str(tmp_path), "--config", str(toml)], "a\\x1b]0;owned\\x07\\x1b[2J\\x9b31m: 4"),
        (["doctor", str(tmp_path / ESCAPE)], "owned\\x07"),
        (["evaluate", ESCAPE], "owned\\x07"),
        (["predict", str(tmp_path), "--task", ESCAPE, "--text", "a"], "holds no config.json"),
        (["train", f"--{ESCAPE}"], "owned\\x07"),
    ):
        with pytest.raises(SystemExit):
            main(words)
        shown = "".join(capfd.readouterr())
        assert part in shown and not set("\x1b\x07\x9b") & set(shown), words


def test_labels_are_no_html_in_a_runs_page(tiny_folder, tmp_path):
    pytest.importorskip("matplotlib")
    tag = "<img src=x onerror=alert(1)>"
    rows = "".join(f"good {tag}\t{tag}\nbad\tb\n" for _ in range(4))
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("text\tlabel\n" + rows, encoding="utf-8")
    toml = tmp_path / "tasks.toml"
    toml.write_text('[tasks.mine]\ntype = "classification"\ntrain = "train.tsv"\ndev = "dev.tsv"\n')
    words = ["--weights", str(tiny_folder), "--data", str(tmp_path), "--train.max-steps", "1"]
    run(["train", str(toml), *words, "--device", "cpu", "--out", str(tmp_path / "run")])
    run(["report", str(tmp_path / "run"), "--device", "cpu"])
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and "&lt;img src=x onerror" in page
