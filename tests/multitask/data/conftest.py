"""Small files for the tests of readers, and the course's files."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path):
    """Writes text or bytes to a file, and returns its path."""

    def write_file(content: str | bytes, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


@pytest.fixture
def course_data() -> Path:
    """The folder with the course's files; the test is skipped without it."""
    folder = Path(os.environ.get("MINBERT_SHARED", Path(__file__).parents[4] / "shared")) / "data"
    if not (folder / "quora-dev.csv").is_file():
        pytest.skip(f"the course's data files are not in {folder} (set MINBERT_SHARED)")
    return folder
