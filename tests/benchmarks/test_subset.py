"""The random part of the course's files: rows as they were, in their order, another one for another seed."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "subset.py"


@pytest.fixture
def data(tmp_path):
    """Six files of 40 rows; the texts hold tabs, quotes and line ends."""
    folder = tmp_path / "data"
    folder.mkdir()
    for stem in ("ids-sst", "quora", "sts"):
        for split in ("train", "dev"):
            with open(folder / f"{stem}-{split}.csv", "w", encoding="utf-8", newline="") as file:
                table = csv.writer(file, delimiter="\t", lineterminator="\n")
                table.writerow(["", "id", "sentence"])
                table.writerows([i, f"id{i}", f'text\t"{i}"\nof two lines'] for i in range(40))
    return folder


def run(data, out, *words):
    command = [sys.executable, str(SCRIPT), str(data), str(out), *words]
    return subprocess.run(command, capture_output=True, text=True)


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


def test_a_random_part_in_the_files_order(data, tmp_path):
    done = run(data, tmp_path / "a", "--train", "10", "--dev", "99")
    assert done.returncode == 0 and "ids-sst-train.csv: 10 of 40 rows" in done.stdout, done.stderr
    for stem in ("ids-sst", "quora", "sts"):
        whole, part = rows(data / f"{stem}-train.csv"), rows(tmp_path / "a" / f"{stem}-train.csv")
        assert part[0] == whole[0] and len(part) == 11
        places = [whole.index(row) for row in part]
        assert places == sorted(set(places)) and places != list(range(11))
        assert rows(tmp_path / "a" / f"{stem}-dev.csv") == rows(data / f"{stem}-dev.csv")
    run(data, tmp_path / "again", "--train", "10")
    run(data, tmp_path / "other", "--train", "10", "--seed", "1")
    parts = [(tmp_path / name / "sts-train.csv").read_bytes() for name in ("a", "again", "other")]
    assert parts[0] == parts[1] != parts[2]


def test_a_folder_that_exists_is_not_written_into(data, tmp_path):
    done = run(data, data)
    assert done.returncode == 2 and "exists already; name a new folder" in done.stderr
