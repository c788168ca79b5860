"""Training and prediction of both starter programs; the same command goes on where it stopped."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from minbert import InputError, atomic_write, say, says_how_to_go_on
from multitask.config.run_config import RunConfig

if TYPE_CHECKING:
    from multitask.inference.run import Run


def begun_before(config: RunConfig) -> bool:
    """Returns True if the run's folder has this very run. Raises InputError if it has anything else."""
    from multitask.inference.run import read_run_config

    out = Path(config.out)
    if out.is_file():
        raise InputError(f"{out} is a file; give --out the name of a new folder")
    if not out.is_dir() or not any(out.iterdir()):
        return False
    if not (out / "config.json").is_file() or read_run_config(out) != config.absolute():
        raise InputError(
            f"{out} holds something else than a run with these settings; give another --out, or remove it"
        )
    return True


def train_or_continue(config: RunConfig) -> "Run":
    """Trains; continues, where an earlier command with the same settings was interrupted or is finished."""
    from multitask.runtime.messages import show_messages
    from multitask.training.trainer import resume, train

    go_on = says_how_to_go_on(lambda: "the same command goes on")
    with show_messages(say), go_on:
        if begun_before(config):
            say(f"{config.out} holds this run already; going on with it")
            return resume(config.out, quiet=False)
        return train(config, quiet=False)


def write_split(run: "Run", task: str, split: str, path: Path, file_format: str) -> None:
    """Writes the predictions for one split to `path`; says so where the split has no file."""
    with TemporaryDirectory(prefix="minbert-predictions-") as folder:
        out = Path(folder) / "predictions"  # its lock lies beside it
        files, notes = run.write_predictions(out, split=split, tasks=[task], file_format=file_format)
        for note in notes:
            say(note)
        for file in files:
            with atomic_write(path, "wb") as target:
                target.write(file.read_bytes())
            print(f"wrote {path}")
