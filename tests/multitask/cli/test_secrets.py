"""Passwords, keys and tokens reach neither a file nor the terminal, whatever a command writes.

Run: pytest tests/multitask/cli/test_secrets.py
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from multitask.cli.main import run
from multitask.experiments.executor.job import Job, run_job
from multitask.experiments.search.storage import check_storage, command_line

MARK = "s3cret-Mark_0123456789"
VARIABLES = ("HF_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY", "PGPASSWORD")
HOST = "127.0.0.1:9"  # where nothing answers
STORAGES = {
    f"postgresql://u:{MARK}@{HOST}/db": "storage postgresql://u@127.0.0.1:9/db cannot be opened",
    f"postgresql+psycopg://:{MARK}@{HOST}/db": "cannot be opened",
    f"postgresql://u:a@{MARK}/{MARK}@{HOST}/db": "cannot be opened",
    f"mysql://u:{MARK}@{HOST}/db": "cannot be opened",
    f"postgresql://{HOST}/db?user=u&password={MARK}": "its password after the question mark",
    f"postgresql://{HOST}/db?%70assword={MARK}": "its password after the question mark",
    f"postgresql://{HOST}/db?sslpassword={MARK}": "its password after the question mark",
    f"host=127.0.0.1 port=9 user=u password={MARK}": "no address of a database",
    f"host=127.0.0.1 password = 'a {MARK}'": "no address of a database",
    f"journal:redis://u:{MARK}@{HOST}": "no address of a database",
    f"journal:host=h password={MARK}": "no address of a database",
    f"postgresql:u:{MARK}@{HOST}/db": "no address of a database",
}


def holding(folder: Path, text: str = MARK) -> list[Path]:
    """The files in a folder whose content or name has the text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text in str(path) or text.encode() in path.read_bytes()]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_password_in_any_form_of_address_is_neither_kept_nor_shown(
    storage, tmp_path, tiny_folder, tiny_data, monkeypatch, capfd
):
    pytest.importorskip("optuna")
    pytest.importorskip("psycopg")
    monkeypatch.chdir(tmp_path)
    space = tmp_path / "space.toml"
    space.write_text("[space.optim.lr]\nchoices = [1e-3]\n")
    words = [
        "search",
        str(space),
        "--storage",
        storage,
        "--weights",
        str(tiny_folder),
        "--data",
        str(tiny_data),
    ]
    with pytest.raises(ValueError) as refused:
        run([*words, "--device", "cpu", "--out", str(tmp_path / "search")])
    assert STORAGES[storage] in str(refused.value)
    assert MARK not in str(refused.value) + "".join(capfd.readouterr())
    assert not holding(tmp_path)


def test_a_recorded_command_has_none():
    words = [
        "space.toml",
        "--storage",
        f"postgresql://u:a b@{MARK}@h/db",
        f"--x=https://u:{MARK}@h/?token={MARK}",
    ]
    assert command_line(words, words[2]) == (
        "multitask search space.toml --storage postgresql://u@h/db '--x=https://u:***@h/?token=***'"
    )


def test_an_address_without_a_secret_is_taken():
    for storage in ("study.db", "journal:a.log", "postgresql://h/db?sslmode=require&passfile=/p"):
        check_storage(storage)


def test_a_jobs_log_and_error_have_none(tmp_path, monkeypatch, capfd):
    """A worker's output, its traceback, and the line that its command shows."""
    monkeypatch.setenv("HF_TOKEN", MARK)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "leaking_job.py").write_text(
        "import os, sys\n"
        "def leak(argument):\n"
        "    print(os.environ['HF_TOKEN'])\n"
        "    print(os.environ['HF_TOKEN'], file=sys.stderr)\n"
        "    raise RuntimeError('postgresql://u:' + argument['password'] + '@h')\n"
    )
    error = run_job(Job("a", "leaking_job:leak", {"password": "other-secret"}, 1, False, ""))
    found = error + "".join(capfd.readouterr())
    assert MARK not in found and "other-secret" not in found
    assert error == "RuntimeError: postgresql://u:***@h" and "Traceback" in found


COMMANDS = """
import sys
from minbert.cli.main import run as minbert
from multitask.cli.main import main
from minbert import run_command
name = sys.argv.pop(1)
(main if name == "multitask" else lambda: run_command(minbert))()
"""


@pytest.mark.slow
def test_no_file_that_a_command_writes_has_one(tiny_folder, tiny_data, tmp_path, monkeypatch):
    """Train, with trackers; a table with a failing cell and a search by workers; pages; the kit; errors."""
    out, home = tmp_path / "out", tmp_path / "home"
    home.mkdir()
    table, space = tmp_path / "table.toml", tmp_path / "space.toml"
    table.write_text(
        '[base.train]\nmax_steps = 1\n[[rows]]\nname = "a"\n[[rows]]\nname = "b"\nset.optim.lr = 1e30\n'
    )
    space.write_text("[base.train]\nmax_steps = 1\n[space.optim.lr]\nchoices = [1e-3]\n")
    student = tmp_path / "optimizer.py"
    student.write_text("import os\nprint(os.environ)\nraise RuntimeError(os.environ['HF_TOKEN'])\n")
    environment = os.environ | {name: MARK for name in VARIABLES}
    environment |= {"WANDB_MODE": "offline", "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= {f"XDG_{name}_HOME": str(home / name) for name in ("CACHE", "STATE", "CONFIG", "DATA")}
    base = f"--weights {tiny_folder} --data {tiny_data} --device cpu"
    url = f"https://u:{MARK}@{HOST}/v1?api_key={MARK}"
    texts = []
    for line, status in (
        (f"multitask train {base} --out {out}/run --train.max-steps 1 --track tensorboard,wandb", 0),
        (f"multitask ablate {table} {base} --out {out}/table --seeds 1 --jobs 2", 1),
        (f"multitask search {space} {base} --out {out}/search --trials 1 --jobs 2", 0),
        (f"multitask report {out}/run --device cpu", 0),
        (f"multitask report {out}/table", 0),
        (f"multitask train {base} --out {out}/new --weights {url}", 2),
        (
            f"multitask search {space} {base} --out {out}/s2 --jobs 2 --storage postgresql://u:{MARK}@{HOST}/d",
            2,
        ),
        (f"multitask augment --data {tiny_data} --out {out}/new.csv --endpoint {url} --model m", 2),
        (f"multitask download --data {out}/data --mirror {url}", 2),
        (f"minbert encode --weights {url} {table} {out}/a.npy", 2),
        (f"minbert check --optimizer {student} --junit {out}/check.xml", 1),
    ):
        found = subprocess.run(
            [sys.executable, "-c", COMMANDS, *shlex.split(line)],
            env=environment,
            cwd=home,
            capture_output=True,
            text=True,
        )
        assert found.returncode == status, line + found.stdout + found.stderr
        texts.append(found.stdout + found.stderr)
    assert not [text for text in texts if MARK in text]
    assert not [path for folder in (out, home) for path in holding(folder)]
    assert holding(tmp_path, "logs")  # workers had logs
