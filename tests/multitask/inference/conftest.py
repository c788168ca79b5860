"""One trained run for all tests of this folder, on data with rows that cannot be used. To be read only."""

import shutil
from pathlib import Path

import pytest

from multitask import RunConfig, load_run, train


@pytest.fixture(scope="package")
def data(tiny_data, tmp_path_factory) -> Path:
    """The tiny data; of two dev files line 17 has no text, 18 no label, and 19 is cut short."""
    folder = tmp_path_factory.mktemp("data")
    shutil.copytree(tiny_data, folder, dirs_exist_ok=True)
    rows = {
        "ids-sst-dev.csv": ["15\tempty\t\t3", "16\tunmarked\tgood movie\t", "17\tshort\tdull film"],
        "quora-dev.csv": ["15\tempty\t\tgood\t1.0", "16\tunmarked\ta cat\ta dog\t", "17\tshort\tgood"],
    }
    for name, added in rows.items():
        with open(folder / name, "a", encoding="utf-8") as file:
            file.writelines(row + "\n" for row in added)
    sst, sts = ((folder / f"{name}-dev.csv").read_text("utf-8").splitlines() for name in ("ids-sst", "sts"))
    for name, lines in (("ids-sst", sst[:16]), ("sts", sts)):
        cut = ["\t".join(line.split("\t")[:-1]) for line in lines]  # without the label's column
        (folder / f"{name}-test-student.csv").write_text("\n".join(cut) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="package")
def run_folder(tiny_folder, data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    values = {"weights": str(tiny_folder), "data": str(data), "out": str(folder), "device": "cpu"}
    values |= {"threads": 1, "train": {"epochs": 2, "batch_size": 8}, "optim": {"lr": 1e-3, "head_lr": 1e-2}}
    values["max_rejected"] = 0.2  # three rows of sst's dev split
    values["tasks"] = {"sst": {"hidden": [9]}, "paraphrase": {"pairs": "bi"}, "sts": {}}
    train(RunConfig.from_dict(values))
    return folder


@pytest.fixture(scope="package")
def run(run_folder):
    return load_run(run_folder)
