"""Files that misbehave in every way we know, each in a real process: what is said of them.

Run: pytest tests/minbert/check/test_process.py
"""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from minbert import InputError
from minbert.check.isolation.process import Limits, check_file
from minbert.check.isolation.process_tree import _from_proc, _from_ps, living_processes
from tests.minbert.check.judging import TOY_STAGES

# A part whose stages are the functions of a user's file that are called so; each has to return [1, 2].
PARTS = f"""{TOY_STAGES}
def part(names):
    stages = tuple(stage(name) for name in names.split())
    return Part("toy", "toy.py", stages, lambda module: module, lambda: None, tuple(names.split()))
"""
RIGHT = "\ndef right():\n    return [1, 2]\n"


@pytest.fixture
def check(tmp_path, monkeypatch):
    """check(source, names, **limits): the findings by name, of a file with this source."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "process_test_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path / "parts")
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    (tmp_path / "student").mkdir()

    def run(source: str, names: str, **limits):
        file = tmp_path / "student" / "toy.py"
        file.write_text(source)
        place = "process_test_parts:part"
        findings = check_file(place, file, Limits(**limits), {"names": names})
        assert [finding.stage for finding in findings] == names.split()
        return {finding.stage: finding for finding in findings}

    return run


IN_ONE_PROCESS = """
import os, socket, subprocess, sys, tempfile, threading, time, urllib.request
from pathlib import Path

import base_bert, config, utils
import numpy as np
import torch

HERE = Path(__file__).parent
print("noise while loading")

def right():
    return [1, 2]

def wrong():
    return [1, 2.5]

def not_a_number():
    return [1, float("nan")]

def other_shape():
    return [[1, 2]]

def no_numbers():
    return ["a", None]

def raises():
    raise ValueError("a reason of its own")

def leaves():
    print("said before leaving")
    sys.exit(3)

def interrupts():
    raise KeyboardInterrupt

def reads():
    return [1, float(input("a number: "))]

def reaches_an_address():
    socket.create_connection(("192.0.2.7", 8080), timeout=1)

def reaches_a_name():
    urllib.request.urlopen("https://weights.example.org/bert")

def reaches_in_silence():
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.9", 53))
    except OSError:
        pass
    return [1, 2]

def talks_to_itself():
    left, right = socket.socketpair()
    left.sendall(b"x")
    return [1, 1 + len(right.recv(1))]

def too_large():
    return np.zeros(3_000_000)

def goes_elsewhere():
    os.chdir("/")
    return [1, 2]

def is_back():
    return [1, 2 if Path.cwd() == HERE else Path.cwd()]

def clears_the_temporary_folder():
    folder = Path(tempfile.gettempdir())
    (folder / "mine").write_text("x")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return [1, 2]

def is_noisy():
    print("to standard output", file=sys.__stdout__)
    print("\\x1b[31mto standard error", file=sys.stderr)
    os.system("echo from a program")
    return [1, 3]

def floods():
    for _ in range(40):
        os.write(1, b"flood " * 200_000)
    time.sleep(0.2)
    size = os.fstat(1).st_size
    return [1, 2 if size < 40_000_000 else size]

def loses_its_output():
    sys.stdout = sys.stderr = None
    return [1, 2]

def writes_without_end():
    with open(HERE / "huge", "wb") as file:
        for _ in range(100):
            file.write(bytes(1_000_000))

def forks():
    if os.fork() == 0:
        return [1, 3]
    time.sleep(0.3)
    return [1, 2]

def leaves_children():
    sleeper = subprocess.Popen(["sleep", "600"])
    (HERE / "sleeper").write_text(str(sleeper.pid))
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            (HERE / "orphan").write_text(str(os.getpid()))
            time.sleep(600)
        os._exit(0)
    os.wait()
    hidden = "(sleep 600 & echo $! > hidden)"
    subprocess.run(["setsid", "env", "-i", "PATH=/bin:/usr/bin", "sh", "-c", hidden], cwd=HERE)
    time.sleep(0.1)
    while not (HERE / "orphan").exists() or not (HERE / "orphan").read_text():
        time.sleep(0.01)
    return [1, 2]

def leaves_a_thread():
    threading.Thread(target=time.sleep, args=(600,)).start()
    return [1, 2]

def sees_the_environment():
    return [1, 2 if "SECRET_KEY" not in os.environ and os.environ["PATH"] else str(os.environ)]

def leaves_odd_files():
    folder = Path(tempfile.gettempdir())
    folder.mkdir(exist_ok=True)
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "out").symlink_to(HERE)
    socket.socket(socket.AF_UNIX).bind(str(folder / "socket"))
    (folder / "closed").mkdir()
    (folder / "closed" / "file").touch()
    (folder / "closed").chmod(0)
    deep = os.open(folder, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("a", dir_fd=deep)
        deep, before = os.open("a", os.O_RDONLY, dir_fd=deep), deep
        os.close(before)
    (HERE / "temporary").write_text(str(folder))
    return [1, 2]

def has_stand_ins():
    class Model(base_bert.BertPreTrainedModel):
        def __init__(self, config):
            super().__init__(config)
            self.layer = torch.nn.Linear(2, 2)
            self.init_weights()

    model = Model(config.BertConfig(initializer_range=0.0))
    assert model.dtype == torch.float32 and model.config.hidden_size == 768
    assert model.layer.weight.abs().max() == 0
    mask = utils.get_extended_attention_mask(torch.tensor([[1, 1, 0]]), model.dtype)
    assert mask.tolist() == [[[[0, 0, -10000]]]]
    return [1, 2]
"""


@pytest.fixture
def waiting_input():
    """Standard input that has a line to read."""
    reading, writing = os.pipe()
    os.write(writing, b"2\n")
    own = os.dup(0)
    os.dup2(reading, 0)
    yield
    os.dup2(own, 0)
    for descriptor in (reading, writing, own):
        os.close(descriptor)


@pytest.mark.usefixtures("waiting_input")
def test_what_a_file_does_in_its_process(check, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "hf_0123456789")
    names = [line[4:].partition("(")[0] for line in IN_ONE_PROCESS.splitlines() if line.startswith("def ")]
    limits = {"output_bytes": 10_000_000, "file_bytes": 50_000_000, "printed_bytes": 10_000, "restarts": 0}
    found = check(IN_ONE_PROCESS, " ".join([*names, "absent"]), **limits)
    good = """right talks_to_itself goes_elsewhere is_back clears_the_temporary_folder floods loses_its_output
    reaches_in_silence forks leaves_children leaves_a_thread sees_the_environment leaves_odd_files
    has_stand_ins""".split()
    failed = """no_numbers raises leaves interrupts reads reaches_an_address reaches_a_name too_large
    writes_without_end""".split()
    by_status = {status: [n for n in names if found[n].status == status] for status in ("same", "failed")}
    assert sorted(by_status["same"]) == sorted(good), {n: found[n] for n in good if found[n].status != "same"}
    assert sorted(by_status["failed"]) == sorted(failed)
    assert found["absent"].status == "skipped" and "no function absent" in found["absent"].detail

    assert (found["wrong"].status, found["wrong"].where, found["wrong"].given) == ("different", (1,), 2.5)
    assert found["wrong"].difference == pytest.approx(0.5 / 3)
    assert found["not_a_number"].where == (1,) and np.isnan(found["not_a_number"].given)
    assert "(1, 2)" in found["other_shape"].detail and "(2,)" in found["other_shape"].detail
    for name, said in {
        "raises": "ValueError: a reason of its own",
        "leaves": "it called sys.exit(3)",
        "interrupts": "KeyboardInterrupt",
        "reads": "standard input is empty here",
        "reaches_an_address": "it tried to reach 192.0.2.7:8080",
        "reaches_a_name": "it tried to reach weights.example.org:443",
        "too_large": "out (3000000,)",
        "writes_without_end": "File too large",
    }.items():
        assert said in found[name].detail, found[name]
    assert found["leaves"].printed == "said before leaving\n"
    assert found["raises"].printed == ""
    printed = found["is_noisy"].printed
    assert all(text in printed for text in ("to standard output", "to standard error", "from a program"))
    assert "it tried to reach 192.0.2.9:53" in found["reaches_in_silence"].printed
    assert found["floods"].printed.startswith("flood flood") and len(found["floods"].printed) < 3000

    here = tmp_path / "student"
    living = {process.pid for process in living_processes()}
    left_behind = {name: int((here / name).read_text()) for name in ("sleeper", "orphan", "hidden")}
    assert living.isdisjoint(left_behind.values()), left_behind
    left = {path.name for path in here.iterdir()} - left_behind.keys()
    assert left == {"toy.py", "huge", "temporary"}, "byte code or anything else of ours"
    assert not os.path.exists((here / "temporary").read_text())


CRASHING = """
import ctypes, os, subprocess, time

def right():
    return [1, 2]

def segfaults():
    print("just before")
    ctypes.string_at(0)

def right_again():
    return [1, 2]

def leaves_at_once():
    os._exit(7)

def eats():
    held = []
    while len(held) < 60:  # 3 GB
        held.append(b"x" * 50_000_000)
        time.sleep(0.02)
    return [1, 2]

def multiplies():
    for _ in range(20):
        subprocess.Popen(["sleep", "600"])
    time.sleep(600)

def last():
    return [1, 2]

leaves_again = leaves_at_once
never = last
"""


def test_what_ends_the_process_is_said_and_the_next_stage_still_runs(check):
    names = "right segfaults right_again leaves_at_once eats multiplies last leaves_again never"
    found = check(CRASHING, names, memory_bytes=1 << 30, processes=10, restarts=4)
    assert all(found[name].status == "same" for name in ("right", "right_again", "last"))
    assert all(
        found[name].status == "failed" for name in ("segfaults", "leaves_at_once", "eats", "multiplies")
    )
    assert "crashed (SIGSEGV)" in found["segfaults"].detail
    assert "just before" in found["segfaults"].printed and "in segfaults" in found["segfaults"].printed
    for name in ("leaves_at_once", "leaves_again"):
        assert found[name].detail == "it ended the interpreter with exit status 7"
    assert found["eats"].detail.endswith("the limit is 1,024 MB")
    assert found["multiplies"].detail.endswith("processes; the limit is 10")
    assert found["never"].detail == "not run: its process was ended 5 times before"


MISLEADING = """
import os, signal, sys
import numpy as np
from safetensors.numpy import save

WORDS = {"problem": "", "detail": "", "printed": ""}

def right():
    return [1, 2]

def into_every_file(content):
    for number in range(3, 64):
        try:
            os.write(number, content)
        except OSError:
            pass
    return [1, 2]

def framed(content):
    return into_every_file(len(content).to_bytes(8, "little") + content)

def writes_junk():
    return into_every_file(b"junk" * 100)

def writes_without_words():
    return framed(save({"out": np.array([1.0, 2.0])}))

def writes_half_precision():
    return framed(save({"out": np.array([1, 2], dtype=np.float16)}, WORDS))

def closes_all_files():
    os.closerange(0, 4096)
    return [1, 2]

def sends_a_signal_without_a_name():
    os.kill(os.getpid(), signal.SIGRTMIN + 3)

class Unspeakable(Exception):
    def __repr__(self):
        raise ValueError
    __str__ = __repr__

def raises_what_cannot_be_said():
    raise Unspeakable

def leaves_with_what_cannot_be_said():
    sys.exit(Unspeakable())

def writes_other_names():
    return framed(save({"other": np.array([1.0])}, WORDS))

last = right
"""


def test_what_is_written_to_mislead_the_check_is_a_failure_of_its_stage(check):
    names = [line[4:-3] for line in MISLEADING.splitlines() if line.startswith("def ") and "()" in line]
    names.remove("writes_other_names")  # what follows it is read one stage late
    found = check(MISLEADING, " ".join([*names, "last", "writes_other_names"]), restarts=9, stage_seconds=20)
    for name, said in {
        "writes_junk": "its outputs cannot be read: they take",
        "writes_without_words": "its outputs cannot be read: KeyError('__metadata__')",
        "writes_half_precision": "its outputs cannot be read: they are not of double precision",
        "closes_all_files": "it ended the interpreter with exit status",
        "sends_a_signal_without_a_name": f"crashed (signal {signal.SIGRTMIN + 3})",
        "raises_what_cannot_be_said": "Unspeakable",
        "leaves_with_what_cannot_be_said": "it called sys.exit(<Unspeakable instance",
    }.items():
        assert found[name].status == "failed" and said in found[name].detail, found[name]
    assert found["right"].status == found["last"].status == "same"
    assert found["writes_other_names"].detail == "this output was not given"


@pytest.mark.slow
def test_the_time_of_a_stage_and_of_all_together_is_limited(check):
    source = """
import time
def hangs():
    print("going round")
    while True:
        pass
def sleeps():
    time.sleep(600)
"""
    found = check(source + RIGHT, "hangs sleeps right", stage_seconds=1.2, total_seconds=2)
    assert {finding.status for finding in found.values()} == {"failed"}
    assert found["hangs"].detail == "it did not end within 1.2 s"
    assert found["hangs"].printed == "going round\n"
    assert found["sleeps"].detail == "all stages took more than 2 s"
    assert found["right"].detail == "not run: the 2 s for the whole file were used up"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def right(:\n", "SyntaxError"),
        ("while True: pass\n", "it did not end within 1 s"),
    ],
)
def test_a_file_that_cannot_be_loaded(check, source, said):
    found = check(source + RIGHT, "right other", stage_seconds=1)
    assert found["right"].status == "failed" and said in found["right"].detail
    assert found["right"].detail.startswith("the file cannot be loaded: ")
    assert (found["other"].status, found["other"].detail) == ("skipped", "not run: the file cannot be loaded")


def test_a_file_with_none_of_the_names(check):
    findings = check("import os\nclass MyBert:\n    pass\ndef run():\n    pass\n", "right other")
    for finding in findings.values():
        assert finding.status == "skipped"
        assert finding.detail.endswith(
            "toy.py has none of the names that are looked for: right, other; it has MyBert, run"
        )


UNFINISHED = """
import torch

class Optimizer:
    def step(self):
        raise NotImplementedError

def unfinished():
    Optimizer().step()

def without_forward():
    torch.nn.Module()(1)

def unsupported():
    torch.nn.functional.pad(torch.zeros(2, 2), (1, 1, 1, 1, 1, 1), mode="reflect")

def deep():
    def down(depth):
        return down(depth - 1) if depth else torch.zeros(2) @ torch.zeros(3)
    down(9)
"""


def test_what_is_not_written_is_no_failure_and_tracebacks_begin_in_the_file(check, tmp_path):
    found = check(UNFINISHED, "unfinished without_forward unsupported deep")
    assert found["unfinished"].status == "skipped"
    assert found["unfinished"].detail == "Optimizer.step is not written yet (NotImplementedError)"
    assert found["without_forward"].status == "skipped" and "forward" in found["without_forward"].detail
    assert found["unsupported"].status == "failed", "torch's own"
    file = tmp_path / "student" / "toy.py"
    for name in ("unsupported", "deep"):
        first, *others = [line for line in found[name].detail.splitlines() if "File " in line]
        assert first.strip().startswith(f'File "{file}", line') and first.endswith(f"in {name}")
        assert len(others) <= 3 and not any("minbert/check" in line for line in others)
    assert found["deep"].detail.splitlines()[-1].startswith("RuntimeError")


def test_files_beside_it_are_found_before_the_stand_ins(check, tmp_path):
    utils = "import importlib_metadata, requests\nSECOND = 2 if importlib_metadata.version('torch') else 3\n"
    (tmp_path / "student" / "utils.py").write_text(utils)  # imports what the starter's does
    found = check("import toy\nfrom utils import *\ndef right():\n    return [1, SECOND]\n", "right")
    assert found["right"].status == "same"


@pytest.mark.usefixtures("check")  # makes the part
def test_what_cannot_be_checked_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no part nowhere:PART"):
        check_file("nowhere:PART", tmp_path / "toy.py")
    with pytest.raises(InputError, match=r"is a function; it must be a minbert\.check\.stage\.Part"):
        check_file("process_test_parts:part", tmp_path / "toy.py")
    with pytest.raises(InputError, match="there is no file .*toy.py"):
        check_file("process_test_parts:part", tmp_path / "toy.py", settings={"names": "a"})


def test_ps_tells_what_proc_tells():
    proc, ps = ({p.pid: p for p in found} for found in (_from_proc(), _from_ps()))
    own = os.getpid()
    assert proc[own].parent == ps[own].parent == os.getppid()
    assert proc[own].resident == pytest.approx(ps[own].resident, rel=0.2)


@pytest.mark.slow
def test_the_process_ends_with_the_one_that_started_it(check, tmp_path):
    check("", "right")  # writes the part's file
    pid = tmp_path / "pid"
    file = tmp_path / "student" / "toy.py"
    file.write_text(f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n")
    code = f"""
from minbert.check.isolation.process import Limits, check_file
check_file("process_test_parts:part", {str(file)!r}, Limits(stage_seconds=600), {{"names": "right"}})
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    starter = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        _wait_until(lambda: pid.exists() and pid.read_text())
    finally:
        starter.kill()
        starter.wait()
    _wait_until(lambda: int(pid.read_text()) not in {process.pid for process in living_processes()})


def _wait_until(true) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("this did not come true within a minute")
