"""Code that a file names runs where the user named it, trusts the file, or trained with that very content.

Run: pytest tests/multitask/config/test_task_file.py
"""

import hashlib
import json
import os
import py_compile
import shutil
import stat
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from minbert import InputError
from multitask import load_run, resume, train
from multitask.cli.main import run
from multitask.config import task_file
from multitask.config.run_config import RunConfig
from multitask.config.task_file import load_recorded_task_file, load_task_file, record_task_file
from multitask.config.task_kinds import KINDS
from multitask.experiments.ablation.ablate import make_cells, make_jobs
from multitask.experiments.ablation.compute_cell import compute_cell
from multitask.experiments.ablation.definition import Ablation, Row
from multitask.experiments.executor.engine import Engine
from multitask.experiments.executor.shared_folder import make_shared_folder
from multitask.experiments.search.settings import FILE, Settings
from multitask.experiments.search.space import Parameter
from multitask.experiments.search.worker import work

EVIL = """
from pathlib import Path

Path(__file__).with_suffix(".ran").touch()
from multitask import register
from multitask.tasks.course import SST


class Evil(SST):
    pass


register("evil", Evil)
"""


@pytest.fixture(autouse=True)
def another_user(tmp_path, monkeypatch):
    """Nothing has run in this process, and nothing is recorded."""
    before = dict(KINDS)
    monkeypatch.setattr(task_file, "_RAN", {})
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield
    KINDS.clear()
    KINDS.update(before)


@pytest.fixture
def record(tmp_path) -> Path:
    return tmp_path / "state" / "minbert" / "task-files"


@pytest.fixture
def evil(tmp_path) -> Path:
    path = tmp_path / "their folder" / "evil.py"
    path.parent.mkdir()
    path.write_text(EVIL, encoding="utf-8")
    return path


def ran(path: Path) -> bool:
    """Whether the file has run since the last call."""
    mark = path.with_suffix(".ran")
    found = mark.exists()
    mark.unlink(missing_ok=True)
    return found


@pytest.fixture
def copied(tiny_run, evil) -> Path:
    """A finished run from somewhere, whose config.json names code."""
    folder = evil.parent / "run"
    shutil.copytree(tiny_run, folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"task_file": str(evil)}))
    return folder


def test_no_command_runs_the_code_that_a_runs_folder_names(copied, evil, tiny_run, tiny_data, tmp_path):
    """Each names file and hash, and what to give."""
    sha256 = hashlib.sha256(EVIL.encode()).hexdigest()
    text = ["--task", "sst", "--text", "good"]
    data = ["--data", str(tiny_data)]
    augment = ["augment", *data, "--out", str(tmp_path / "new.csv"), "--method", "words", "--synonyms", "no"]
    for words in (
        ["predict", str(copied), *text],
        ["evaluate", str(copied)],
        ["resume", str(copied)],
        ["export", str(copied), str(tmp_path / "out"), "--format", "hf", "--task", "sst"],
        ["ensemble", str(tiny_run), str(copied), *data],
        ["report", str(copied)],
        ["train", str(copied / "config.json"), "--out", str(tmp_path / "new")],
        ["doctor", str(tiny_data), "--config", str(copied / "config.json")],
        [*augment, "--check", str(copied)],
    ):
        with pytest.raises(InputError) as refused:
            run(words)
        assert not ran(evil), words
        for part in (str(copied / "config.json"), str(evil), sha256, f"give --task-file {evil} or --trust"):
            assert part in str(refused.value), words
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="not run"):
        load_run(copied)
    with pytest.raises(InputError, match="not run"):
        train(RunConfig(weights="scratch", data="sample", out=str(tmp_path / "new"), task_file=str(evil)))
    assert not ran(evil) and not (tmp_path / "state").exists()


def test_what_the_user_names_or_trusts_runs(copied, evil, tiny_run, capsys, monkeypatch):
    words = ["predict", str(copied), "--task", "sst", "--text", "good"]
    for more in (["--task-file", str(evil)], ["--trust"]):
        monkeypatch.setattr(task_file, "_RAN", {})
        run([*words, *more])
        assert ran(evil)
    monkeypatch.setattr(task_file, "_RAN", {})
    run(["resume", str(copied), "--trust"])  # finished: nothing is trained
    assert ran(evil)
    monkeypatch.setattr(task_file, "_RAN", {})
    run(["ensemble", str(tiny_run), str(copied), "--trust"])
    assert ran(evil)
    assert load_run(copied, trust=True).config.task_file == str(evil) and ran(evil)


def test_a_file_that_the_user_names_takes_the_place_of_the_folders(copied, evil, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(EVIL.replace("evil", "mine"), encoding="utf-8")
    loaded = load_run(copied, task_file=own)
    assert loaded.config.task_file == str(own) and ran(own) and not ran(evil)
    assert resume(copied, task_file=own).config.task_file == str(own) and not ran(evil)


def test_training_records_the_content_for_the_user_alone(tiny_values, evil, record):
    """The mode is 600; a copy of the file runs, and another content under its name does not."""
    load_task_file(evil)
    train(RunConfig.from_dict(tiny_values | {"task_file": str(evil), "train": {"max_steps": 1}}))
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    task_file._RAN.clear()
    ran(evil)
    out = Path(tiny_values["out"])
    load_run(out)
    assert ran(evil)
    copy = out / "evil.py"
    shutil.copy(evil, copy)
    load_recorded_task_file(copy, "a table")
    assert ran(copy)
    task_file._RAN.clear()
    evil.write_text(EVIL + "\n# more\n", encoding="utf-8")
    with pytest.raises(InputError, match="config.json names code that you have not trained with"):
        load_run(out)
    assert not ran(evil)


def test_only_the_users_own_record_counts(evil, record):
    """Not one that others may write, nor a link, a pipe, a name that holds a line end and a hash."""
    load_task_file(evil)
    trick = evil.with_name(f"a\n{'0' * 64} .py")
    trick.write_text("x = 1\n", encoding="utf-8")
    load_task_file(trick)
    for path in (evil, trick):
        record_task_file(path)
    assert len(task_file._recorded()) == 2 and "0" * 64 not in task_file._recorded()
    record.chmod(0o622)
    with pytest.raises(InputError, match="task-files is not yours alone"):
        load_recorded_task_file(evil, "a table")
    record.chmod(0o600)
    target = record.rename(record.with_name("other"))
    record.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        load_recorded_task_file(evil, "a table")
    record.unlink()
    os.mkfifo(record, 0o600)
    with pytest.raises(InputError, match="not yours alone"):
        load_recorded_task_file(evil, "a table")


def test_a_relative_state_folder_is_ignored(evil, tmp_path, monkeypatch):
    """As the specification of XDG_STATE_HOME says: else the record would lie in whatever folder one is in."""
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    load_task_file(evil)
    record_task_file(evil)
    assert (tmp_path / "home" / ".local" / "state" / "minbert" / "task-files").is_file()
    assert not (tmp_path / "state").exists()


def test_cached_bytecode_does_not_run_in_place_of_the_file(evil):
    """Python itself takes __pycache__ where its header has the source's size and time."""
    good = "x = 1\n" + "#" * (len(EVIL) - 6)
    py_compile.compile(str(evil))
    before = evil.stat()
    evil.write_text(good, encoding="utf-8")
    os.utime(evil, ns=(before.st_atime_ns, before.st_mtime_ns))
    load_task_file(evil)
    assert not ran(evil)


def test_tables_and_searches_do_not_run_the_code_that_they_name(evil, tmp_path, tiny_folder, tiny_data):
    table, space = tmp_path / "table.toml", tmp_path / "space.toml"
    table.write_text(f'[base]\ntask_file = "{evil}"\n[[rows]]\nname = "a"\n', encoding="utf-8")
    space.write_text(f'[base]\ntask_file = "{evil}"\n[space.optim.lr]\nchoices = [1e-3]\n', encoding="utf-8")
    sources = ["--weights", str(tiny_folder), "--data", str(tiny_data), "--out", str(tmp_path / "out")]
    for name, source in (("ablate", table), ("search", space)):
        with pytest.raises(InputError, match=f"{source} names code that you have not trained with"):
            run([name, str(source), *sources])
        assert not ran(evil)
    run(["ablate", str(table), "--dry-run", "--trust"])
    assert ran(evil)


def test_a_searchs_folder_does_not_run_the_code_that_it_names(evil, tmp_path):
    rate = Parameter("rate", ("optim", "lr"), "float", 1e-5, 1e-3)
    base = {"task_file": str(evil), "weights": None, "data": None}
    facts = dict.fromkeys((field.name for field in fields(Settings)), "")
    facts |= {
        "base": base,
        "trials": 1,
        "storage": None,
        "seeds": [],
        "parameters": [asdict(rate)],
        "points": [],
    }
    facts |= {"sampler": "random", "pruner": "none", "sampler_seed": 0, "data": {}}
    (tmp_path / FILE).write_text(json.dumps(facts))
    with pytest.raises(InputError, match="the search names code that you have not trained with"):
        run(["search", str(tmp_path)])
    assert not ran(evil)
    with pytest.raises(InputError, match="no weights; give --weights"):
        run(["search", str(tmp_path), "--trust"])
    assert ran(evil)


def test_workers_run_the_content_that_the_command_ran(evil, tmp_path, tiny_values):
    """A worker that has another file under the name does not run it, and says so."""
    load_task_file(evil)
    config = RunConfig.from_dict(tiny_values | {"task_file": str(evil)})
    ablation = Ablation("t", "", "a", (1,), (Row("a", "", {}, None, config),))
    [job] = make_jobs(make_cells(ablation), tmp_path / "table", Engine(), 1, False).values()
    assert job.task_file_hash == hashlib.sha256(EVIL.encode()).hexdigest()
    ran(evil)
    evil.write_text(EVIL + "\n", encoding="utf-8")
    task_file._RAN.clear()
    compute_cell(vars(job))
    assert not ran(evil)
    assert f"{evil} has another content here" in job.result()["error"]
    argument = {"folder": str(tmp_path), "folder_id": make_shared_folder(tmp_path), "threads": 1}
    with pytest.raises(InputError, match="has another content here"):
        work(argument | {"task_file": str(evil), "task_file_hash": job.task_file_hash})
    assert not ran(evil)
