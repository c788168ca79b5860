"""The built wheel holds every file of both packages, and runs without the repository."""

import os
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
LIMIT = 1800  # seconds; turns a hang into a failure
run = partial(subprocess.run, capture_output=True, text=True, timeout=LIMIT)
pip = [sys.executable, "-m", "pip"]


def tracked(*folders: str) -> list[str]:
    return run(["git", "ls-files", *folders], cwd=ROOT, check=True).stdout.splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    run([*pip, "wheel", *options, source], check=True)
    [built] = folder.glob("*.whl")
    return built


def test_holds_every_file(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert set(tracked("minbert", "multitask")) <= inside
    assert not any(name.startswith(("tests/", "benchmarks/", "scripts/")) for name in inside)


def test_runs_alone(wheel, tmp_path):
    installed = tmp_path / "installed"
    run([*pip, "install", "--quiet", "--no-deps", "--target", installed, wheel], check=True)
    environment = os.environ | {"PYTHONPATH": str(installed)}  # comes before a development install

    def python(*words: object) -> str:
        done = run([sys.executable, *words], cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    sizes = ["--model.hidden-size", "16", "--model.intermediate-size", "16", "--train.epochs", "1"]
    words = ["-m", "multitask", "train", "sample", "--out", "run", "--limit", "40", *sizes]
    assert "overall_2024" in python(*words)
    submission = ROOT / "tests" / "submissions" / "correct" / "bert.py"  # needs fixtures and stand-ins
    python("-m", "minbert", "check", "--model", submission)
    found = python("-c", "import multitask; print(multitask.__file__)")
    assert Path(found.strip()).is_relative_to(installed)
