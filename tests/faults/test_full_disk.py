"""A full disk at many sizes: old results stay whole, the message says what is missing, and commands go on.

Run: pytest tests/faults/test_full_disk.py -m slow (as root, which may mount a small file system)
"""

import gc
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

import minbert.cli.main
import multitask.cli.main
from minbert import InputError
from multitask import load_run

SIZES = 20
ROOM = 2**28
FULL = ("cannot be written: its disk is full", "checkpoint takes", "2 checkpoints take")


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A file system whose size is changed by `mount -o remount`."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here; run as root for it")
    yield folder
    subprocess.run(["umount", folder], check=True)


def resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def empty(disk: Path) -> None:
    gc.collect()  # tensors that are mapped keep the place of removed files
    for entry in disk.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def content(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def run(tiny_folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert not multitask.cli.main.run(train_command(tiny_folder, out))
    return out


def options(weights: Path, out: Path) -> str:
    return (
        f"--weights {weights} --data sample --out {out} --tasks sst --limit 8 --device cpu --threads 1 "
        f"--train.batch-size 8"
    )


def train_command(weights: Path, out: Path) -> list[str]:
    return f"train {options(weights, out)} --train.epochs 2 --checkpoint.every-steps 1".split()


def commands(name: str, disk: Path, weights: Path, run: Path, tmp_path: Path) -> list[str]:
    """Returns the command's words; its results are in `disk / "new"` or below."""
    out = disk / "new"
    texts = tmp_path / "texts.txt"
    texts.write_text("a cat\nthe house\n" * 2000)
    table = tmp_path / "table.toml"
    table.write_text('title = "t"\nseeds = [1]\n[[rows]]\nname = "a"\n')
    return {
        "train": train_command(weights, out),
        "encode": f"encode --weights {weights} --pooling mean {texts} {out}.npy".split(),
        "export": f"export {run} {out} --format sentence-transformers --task sst".split(),
        "predict": f"predict {run} --data sample --split dev --out {out}".split(),
        "ablate": f"ablate {table} {options(weights, out)} --train.epochs 1 --jobs 1".split(),
    }[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "encode", "export", "predict", "ablate"])
def test_a_full_disk(name, disk, tiny_folder, run, tmp_path, capfd):
    resize(disk, ROOM)
    empty(disk)
    command = commands(name, disk, tiny_folder, run, tmp_path)
    main = minbert.cli.main.run if name == "encode" else multitask.cli.main.run
    assert not main(command)
    needed, whole = used(disk), content(disk)
    results = {path for path in whole if path.endswith((".safetensors", ".npy", ".csv"))}
    refused = 0
    for number in range(SIZES):
        empty(disk)
        (disk / "old").mkdir()
        (disk / "old" / "file").write_bytes(b"old")
        resize(disk, 8192 + needed * number // SIZES)
        capfd.readouterr()
        try:
            status, message = main(command), ""
        except (InputError, OSError) as error:
            status, message = 2, " ".join(str(error).split())
        if status:
            refused += 1
            said = message + " ".join(capfd.readouterr())
            assert any(words in said for words in FULL), said
            if name == "train" and (disk / "new" / "config.json").exists():
                assert f"multitask resume {disk / 'new'}" in said, said
        assert (disk / "old" / "file").read_bytes() == b"old"
        assert not [path for path in disk.rglob("*.partial") if path.is_file()], number
        resize(disk, ROOM)
        for word in ("best", "last"):  # a checkpoint is whole or not there
            if (disk / "new" / word).exists() and name == "train" and (disk / "new" / "best").exists():
                load_run(disk / "new")
        if name == "train" and (disk / "new" / "last" / "training_state").is_dir():
            assert not main(["resume", str(disk / "new")])
        elif status:
            shutil.rmtree(disk / "new", ignore_errors=True) if name == "train" else None
            assert not main([*command, *(["--retry-failed"] if name == "ablate" else [])])
        found = content(disk)
        assert results <= found.keys()
        if name != "ablate":
            assert {path: found[path] for path in results} == {path: whole[path] for path in results}, number
    assert refused >= SIZES // 2


def used(disk: Path) -> int:
    usage = shutil.disk_usage(disk)
    return usage.total - usage.free
