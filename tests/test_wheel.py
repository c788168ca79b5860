"""The built wheel holds every file of both packages, and runs without the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", folder, source], check=True)
    [built] = folder.glob("*.whl")
    return built


def test_holds_every_file(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "minbert", "multitask"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(tracked.stdout.split()) <= inside
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in inside)


def test_runs_alone(wheel, tmp_path):
    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", installed]
    subprocess.run([*pip, wheel], check=True)
    environment = os.environ | {"PYTHONPATH": str(installed)}  # comes before a development install
    command = [sys.executable, "-m", "multitask", "train", "sample", "--out", "run", "--limit", "40"]
    command += ["--train.epochs", "1", "--model.hidden-size", "16", "--model.intermediate-size", "16"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "overall_2024" in result.stdout
    submission = ROOT / "tests" / "submissions" / "correct" / "bert.py"  # needs fixtures and stand-ins
    check = [sys.executable, "-m", "minbert", "check", "--model", submission]
    checked = subprocess.run(check, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    where = [sys.executable, "-c", "import multitask; print(multitask.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(installed)
