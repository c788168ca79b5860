"""Messages have no secrets, and nothing that a terminal obeys.

Run: pytest tests/minbert/cli/test_shown_text.py
"""

import subprocess
import sys

import pytest

from minbert import hide_secrets, shown_line, spreadsheet_cell

SECRET = "s3cret-Value_0123456789"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"postgresql+psycopg://u:{SECRET}@h:5432/db", "postgresql+psycopg://u:***@h:5432/db"),
        (f"postgresql://u:a@b/{SECRET}@h/db is", "postgresql://u:***@h/db is"),
        (f"redis://:{SECRET}@h", "redis://:***@h"),
        (f"https://h/v1?user=u&password={SECRET}&x=1", "https://h/v1?user=u&password=***&x=1"),
        (f"https://h/v1?token={SECRET}", "https://h/v1?token=***"),
        (f"host=h password={SECRET} dbname=d", "host=h password=*** dbname=d"),
        (f"host=h password = 'a b\\' {SECRET}' dbname=d", "host=h password = *** dbname=d"),
        (f'PGPASSWORD="a {SECRET}" psql', "PGPASSWORD=*** psql"),
        (f'{{"api_key": "{SECRET}", "n": 1}}', '{"api_key": "***", "n": 1}'),
        (f"{{'x-api-key': '{SECRET}'}}", "{'x-api-key': \"***\"}"),
        (f"Authorization: Bearer {SECRET}", "Authorization: Bearer ***"),
        (f"Incorrect API key provided: sk-{SECRET}.", "Incorrect API key provided: sk-***."),
        ("hf_0123456789abcdefghij was refused", "hf_*** was refused"),
    ],
)
def test_secrets_are_known_by_what_stands_before_them(text, shown):
    assert hide_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:8000/v1 and http://[::1]:80/a",
        "postgresql://u@h/db?sslmode=require",
        "mask_token=[MASK], pad_token='[PAD]', train.batch_tokens=100, --tokens=3, keyword=a",
        "give --storage with its password; check HF_TOKEN, or set WANDB_API_KEY",
        "C:\\key: value, tokens: 5, a basic case",
    ],
)
def test_other_text_stays_as_it_is(text):
    assert hide_secrets(text) == text


@pytest.mark.parametrize("name", ["HF_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY", "PGPASSWORD", "db_secret"])
def test_secrets_of_the_environment_are_known_by_their_values(name, monkeypatch):
    monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("PWD", "/home/someone/folder")
    assert (
        hide_secrets(f"a {SECRET}, b='{SECRET}' in /home/someone/folder")
        == "a ***, b='***' in /home/someone/folder"
    )
    assert hide_secrets(f"in{SECRET}side") == f"in{SECRET}side"
    monkeypatch.setenv(name, "short")
    assert hide_secrets("short") == "short"


def test_what_a_terminal_obeys_is_written_out():
    assert shown_line("a\x1b[2Jb\x9b1m\rc\x07\x7f\udc80\té") == r"a\x1b[2Jb\x9b1m\rc\x07\x7f\udc80" + "\té"


def test_a_command_prints_neither(tmp_path):
    """Of the name of a file in an error, of what is printed, of a traceback."""
    name = f"\x1b]0;title\x07 password={SECRET}"
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom minbert import InputError, run_command, say\n"
        f"name = {name!r}\n"
        "def run(words):\n"
        "    say(name)\n"
        f"    print(name[:10], {SECRET!r})\n"
        "    raise {'input': InputError, 'other': RuntimeError}[words[0]](name)\n"
        "run_command(run)\n"
    )
    for kind, status in (("input", 2), ("other", 1)):
        found = subprocess.run(
            [sys.executable, str(program), kind],
            env={"HF_TOKEN": SECRET, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
        )
        assert found.returncode == status
        assert SECRET not in found.stdout + found.stderr and "\x1b" not in found.stdout + found.stderr
        assert found.stdout == "\\x1b]0;title\\x07 ***\n"
        assert found.stderr.count(r"\x1b]0;title\x07 password=***") == 2


@pytest.mark.parametrize("text", ['=HYPERLINK("http://x")', "+1", "-2+3", "@SUM(A1)", "\t=1", " =1", "\r@x"])
def test_a_spreadsheet_computes_nothing(text):
    assert spreadsheet_cell(text).lstrip()[0] not in "=+-@\t\r"


@pytest.mark.parametrize("text", ["LoRA first:4", "a = b", "1e-3", ""])
def test_other_cells_stay_as_they_are(text):
    assert spreadsheet_cell(text) == text
