"""The bundled corpus, `--data sample`: generated texts in the formats of the course and of the other tasks.

A training run, the tutorial and the tests need no download with it. The test splits use templates and
combinations of words that training does not have, made of words that it has; their labels are known, so
beside each `-test-student` file stands the same split with labels as `-test`. scripts/make_sample_corpus.py
made the archive.
"""

import tarfile
from pathlib import Path

from minbert import atomic_write

ARCHIVE = Path(__file__).with_name("sample.tar.xz")


def write_sample(folder: str | Path) -> None:
    """Unpacks the corpus into `folder`; each file is whole or not there."""
    with tarfile.open(ARCHIVE) as archive:
        for entry in archive:
            with atomic_write(Path(folder) / entry.name, "wb") as file:
                file.write(archive.extractfile(entry).read())
