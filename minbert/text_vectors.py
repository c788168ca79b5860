"""Lines of a text file, and the .npy file of their vectors; memory does not grow with their number."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from minbert.errors import InputError


def read_lines(path: str | Path) -> Iterator[str]:
    """The lines of a UTF-8 file, without their ends. Raises InputError that names a line in another code."""
    if not Path(path).exists():
        raise InputError(f"there is no file {path}; give a text file with one sentence a line")
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder; give a text file with one sentence a line")
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{number} is not UTF-8 ({error.reason}); save the file as UTF-8"
                ) from None


def write_vectors(encoder, lines: Iterable[str], count: int, file: IO[bytes], precision: str) -> None:
    """Writes `count` lines, encoded by a SentenceEncoder, as a .npy file: float32 (count, D).

    Raises InputError if there are more or fewer lines than that.
    """
    import numpy as np
    from tqdm import tqdm

    header = {"descr": "<f4", "fortran_order": False, "shape": (count, encoder.size)}
    # disable=None shows the bar only on a terminal
    with tqdm(total=count, unit=" texts", disable=None) as bar:
        np.lib.format.write_array_header_1_0(file, header)
        written = 0
        for vectors in encoder.stream(lines, precision):
            file.write(vectors.astype("<f4", copy=False).tobytes())
            written += len(vectors)
            bar.update(len(vectors))
        if written != count:
            raise InputError(f"the text had {count} lines, then {written}; give a file that stays")
