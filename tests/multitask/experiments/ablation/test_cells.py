"""Keys of cells: what changes a result changes the key, and nothing else does."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from multitask.experiments.ablation import cells
from multitask.experiments.ablation.cells import cell_key, make_cell, slug, training_sources


@pytest.fixture
def folders(tiny_folder, tiny_data, tmp_path):
    """Copies of the weights and the data, to be changed."""
    return shutil.copytree(tiny_folder, tmp_path / "w"), shutil.copytree(tiny_data, tmp_path / "d")


@pytest.fixture
def config(tiny_config, folders):
    return tiny_config(weights=str(folders[0]), data=str(folders[1]))


def test_what_decides_a_result_decides_the_key(config, tiny_config, folders):
    weights, data = folders
    key = cell_key(config)
    changed = [
        replace(config, freeze="backbone"),
        replace(config, limit=5),
        replace(config, precision="bf16"),
        replace(config, train=replace(config.train, seed=1)),
        replace(config, tasks={**config.tasks, "sst": replace(config.tasks["sst"], pooling="cls")}),
        replace(config, data="sample"),
    ]
    keys = [key, *map(cell_key, changed)]
    assert len(set(keys)) == len(keys)
    (data / "sts-dev.csv").write_text((data / "sts-dev.csv").read_text() + "\n")
    keys.append(cell_key(config))
    (weights / "config.json").write_text((weights / "config.json").read_text() + "\n")
    keys.append(cell_key(config))
    sst = replace(config.tasks["sst"], train="parts")
    (data / "parts").mkdir()
    for content in ("id", "text"):  # of a file in a folder
        (data / "parts" / "a.csv").write_text(content)
        keys.append(cell_key(replace(config, tasks={**config.tasks, "sst": sst})))
    assert len(set(keys)) == len(keys)


def test_where_and_how_fast_it_runs_decides_nothing(config, folders, tmp_path):
    key = cell_key(config)
    weights, data = folders
    moved = shutil.copytree(weights, tmp_path / "w2"), shutil.copytree(data, tmp_path / "d2")
    (moved[0] / "README.md").write_text("About these weights.")
    (moved[1] / "sts-test-student.csv").write_text("not read in training")
    others = [
        replace(config, out="elsewhere"),
        replace(config, threads=7),
        replace(config, device="auto"),
        replace(config, weights=str(moved[0]), data=str(moved[1])),
        replace(config, cache=replace(config.cache, folder=str(tmp_path))),
        replace(config, data_cache=str(tmp_path)),
    ]
    assert {cell_key(other) for other in others} == {key}


def test_a_source_file_that_training_runs_through_decides_the_key(config, tmp_path, monkeypatch):
    key = cell_key(config)
    copy = tmp_path / "loop.py"
    copy.write_text("# another loop\n")
    sources = [copy if path.name == "loop.py" else path for path in training_sources()]
    monkeypatch.setattr(cells, "training_sources", lambda: sources)
    cells.source_hash.cache_clear()
    try:
        assert cell_key(config) != key
    finally:
        cells.source_hash.cache_clear()


def test_all_that_a_training_imports_counts_as_its_source(tiny_values, tmp_path):
    """The modules of a real run are all among the sources, and this package is not."""
    program = (
        "import sys\nfrom multitask import RunConfig, train\n"
        f"train(RunConfig.from_dict({tiny_values!r}))\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] in ('minbert', 'multitask')))"
    )
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    imported = {Path(name).resolve() for name in ran.stdout.split() if name.endswith(".py")}
    sources = {path.resolve() for path in training_sources()}
    assert len(imported) > 60
    of_commands = {path for path in imported - sources if "cli" in path.parts}
    # Passwords are hidden in errors, and the model card's numbers are those of pages.
    assert {path.stem for path in of_commands} <= {"__init__", "shown_text", "numbers"}
    assert not imported - sources - of_commands
    assert not any("experiments" in path.parts for path in sources)


def test_a_cell_has_its_seed_and_a_name_of_its_own(config):
    one, two = make_cell("LoRA, last 4", 1, config), make_cell("LoRA, last 4", 2, config)
    assert (one.config.train.seed, two.config.train.seed) == (1, 2)
    assert one.folder_name == f"lora-last-4-seed-1-{one.key[:8]}" and one.folder_name != two.folder_name
    assert slug("±") == "row"
