"""`multitask validate` on the bundled corpus, which holds files of all four course tasks."""

import pytest

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
