"""`multitask validate` on the bundled corpus, which holds files of all four course tasks."""

import json

import pytest

from minbert import InputError
from multitask.cli.main import run
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data.sample import write_sample
from multitask.tasks.predictions import prediction_path, write_predictions
from multitask.tasks.splits import load_split

TASKS = {name: make_task(name, task_config(name, {})) for name in ("sst", "paraphrase", "sts", "cfimdb")}


@pytest.fixture
def folders(tmp_path):
    data, out = tmp_path / "data", tmp_path / "predictions"
    write_sample(data)
    for name in ("sst", "paraphrase", "sts"):
        format = TASKS[name].format
        for split in ("dev", "test"):
            ids = [example.id for example in load_split(TASKS[name], data, split)[0].rows]
            write_predictions(prediction_path(out, format, split), ids, [1] * len(ids), format)
    return data, out


def validate(folders, capsys, *words):
    data, out = folders
    status = run(["validate", str(out), "--data", str(data), *words])
    return status, capsys.readouterr().out


def test_cfimdb_is_expected_only_where_it_is_predicted_or_named(folders, capsys):
    status, shown = validate(folders, capsys)
    assert (status, shown.splitlines()[-1]) == (0, "6 files checked, 0 errors, 0 warnings")
    assert validate(folders, capsys, "--tasks", "sst,cfimdb")[0] == 1
    format = TASKS["cfimdb"].format
    write_predictions(prediction_path(folders[1], format, "dev"), ["x"], [1], format)
    assert validate(folders, capsys)[0] == 1
    prediction_path(folders[1], format, "dev").unlink()
    prediction_path(folders[1], TASKS["sts"].format, "dev").unlink()
    status, shown = validate(folders, capsys)
    assert status == 1 and "no predictions for sts dev" in shown


def test_the_data_are_found_and_named(folders, tmp_path, monkeypatch, capsys):
    """Those of the run that the predictions lie in, its own copies first; else ./data; else an error."""
    data, predictions = folders
    run_folder, here = tmp_path / "run", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(InputError, match="there is no folder `data` here; give --data DIR"):
        run(["validate", str(predictions)])
    (here / "data").symlink_to(data)
    for words in (["validate", str(predictions)], ["submit", str(tmp_path), str(tmp_path / "out.zip")]):
        assert not run(words) and capsys.readouterr().out.startswith("data: data\n")
    run_folder.mkdir()
    predictions.rename(run_folder / "predictions")
    (run_folder / "environment.json").write_text("{}")
    for recorded, kept, used in (
        (str(data), None, data),
        ("sample", "sample", run_folder / "sample"),
        ("<memory>", "data", run_folder / "data"),
        (str(tmp_path / "gone"), None, "data"),
    ):
        (run_folder / "config.json").write_text(json.dumps({"data": recorded}))
        if kept:
            (run_folder / kept).symlink_to(data)
        for words in (["validate", str(run_folder)], ["validate", str(run_folder / "predictions")]):
            assert not run(words) and capsys.readouterr().out.startswith(f"data: {used}\n")
    (here / "data").unlink()
    with pytest.raises(InputError, match=f"{tmp_path}/gone, which the run {run_folder} was trained on"):
        run(["submit", str(run_folder), str(tmp_path / "again.zip")])
    assert not (tmp_path / "again.zip").exists()
    found = run(["validate", str(run_folder), "--data", str(data), "--json"])
    assert found == 0 and json.loads(capsys.readouterr().out)["notes"] == []


def test_doctor_takes_data_as_the_other_commands_do(folders, capsys):
    run(["doctor", str(folders[0])])
    expected = capsys.readouterr().out
    run(["doctor", "--data", str(folders[0])])
    assert capsys.readouterr().out == expected
    with pytest.raises(InputError, match="DIR or --data DIR, and both are given"):
        run(["doctor", str(folders[0]), "--data", str(folders[0])])
