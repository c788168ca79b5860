"""Executors, with real processes and Ray: jobs that run, die, fail and are interrupted; shared folders."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from minbert import InputError
from multitask.experiments.executor import shared_folder
from multitask.experiments.executor.engine import Engine
from multitask.experiments.executor.job import ATTEMPTS, Job
from multitask.experiments.executor.processes import PACKAGES, ProcessExecutor, visible_cards
from multitask.experiments.executor.shared_folder import (
    check_shared_folder,
    make_shared_folder,
    warn_of_network,
)

WAIT = 300  # seconds after which a test gives up
# Functions that workers call. Each call leaves a file named after its process in the folder that it is given.
FUNCTIONS = """
import json, os, signal, time
from pathlib import Path

def begin(folder):
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    facts = {name: os.environ.get(name) for name in names}
    Path(folder, str(os.getpid())).write_text(json.dumps(facts))

def write(argument):
    begin(argument["folder"])
    print("written")

def die(argument):
    begin(argument["folder"])
    if len(os.listdir(argument["folder"])) <= argument["times"]:
        os.kill(os.getpid(), signal.SIGKILL)

def again(argument):
    begin(argument["folder"])
    while len(os.listdir(argument["folder"])) == 1:
        time.sleep(0.02)

def fail(argument):
    raise ValueError("no such\\nthing")

def wait(argument):
    try:
        begin(argument["folder"])
        while True:
            time.sleep(0.02)  # Ray's interrupt comes between two steps of Python
    except KeyboardInterrupt:
        Path(argument["folder"], "interrupted").touch()
        raise
"""


@pytest.fixture(scope="module", autouse=True)
def functions(tmp_path_factory):
    """Lets workers import the functions, and Ray's workers this package."""
    folder = tmp_path_factory.mktemp("functions")
    (folder / "functions.py").write_text(FUNCTIONS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(PACKAGES), str(folder)]))
        yield


@pytest.fixture(autouse=True)
def forget_processes_of_ray():
    """Ray leaves the objects of processes that it has ended to the garbage collector, which warns of them."""
    yield
    if "ray" in sys.modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.fixture
def job(tmp_path):
    """The function `job(name, function, **argument)` -> a Job, whose processes leave files in `name`."""

    def make(name: str, function: str, gpu: bool = False, **argument) -> Job:
        folder = tmp_path / name
        folder.mkdir()
        given = {"folder": str(folder), **argument}
        return Job(name, f"functions:{function}", given, 3, gpu, str(tmp_path / "logs" / f"{name}.txt"))

    return make


def until(happened):
    end = time.monotonic() + WAIT
    while not (found := happened()):
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.02)
    return found


def ends(executor, *keys: str) -> dict:
    """Waits for the ends of these jobs."""
    ended: dict = {}
    until(lambda: ended.update(executor.poll()) or ended.keys() >= {*keys})
    return ended


def begun(job: Job) -> list[Path]:
    return [path for path in Path(job.argument["folder"]).iterdir() if path.name.isdigit()]


def facts(job: Job) -> dict:
    [path] = begun(job)
    return json.loads(path.read_text())


ENGINES = [
    pytest.param(Engine(jobs=2), id="processes"),
    pytest.param(Engine("ray", jobs=2), id="ray", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_jobs_run_die_and_are_interrupted(engine, job):
    """The contract of an executor, which both keep."""
    jobs = [job("write", "write"), job("dies", "die", times=1), job("deadly", "die", times=99)]
    left = list(jobs)
    with engine.executor() as executor:
        ended: dict = {}

        def all_ended() -> bool:
            while left and executor.submit(left[0]):
                left.pop(0)
            ended.update(executor.poll())
            return len(ended) == len(jobs)

        until(all_ended)
        assert ended["write"] is None and ended["dies"] is None
        assert f"{ATTEMPTS} times" in ended["deadly"] and jobs[2].log in ended["deadly"]
        assert [len(begun(job)) for job in jobs] == [1, 2, ATTEMPTS]
        assert facts(jobs[0])["OMP_NUM_THREADS"] == "3"
        assert Path(jobs[0].log).read_text().splitlines()[-1] == "written"

        waits, fails = job("waits", "wait"), job("fails", "fail")
        executor.submit(waits)
        until(lambda: begun(waits))
        executor.submit(fails)
        with pytest.raises(InputError, match="^ValueError: no such thing$"):
            ends(executor, "fails")
        assert "Traceback" in Path(fails.log).read_text()
    assert Path(waits.argument["folder"], "interrupted").is_file()
    assert len(begun(waits)) == 1


def test_ray_replaces_a_worker_that_died(job):
    """Checks the part of the contract that fits into a few seconds."""
    dies = job("dies", "die", times=1)
    with Engine("ray").executor() as executor:
        executor.submit(dies)
        assert ends(executor, "dies") == {"dies": None}
    assert len(begun(dies)) == 2


@pytest.mark.slow
def test_a_lost_node_costs_no_job(job, monkeypatch):
    """A cluster of two nodes at an address; the job's node is killed, and another one joins."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node, again = cluster.add_node(num_cpus=3), job("again", "again")
    try:
        with Engine("ray", jobs=5, address=cluster.address).executor() as executor:
            assert executor.threads == 1
            with pytest.raises(InputError, match="4 threads were asked for, .* has 3 CPUs"):
                executor.submit(replace(again, threads=4))
            executor.submit(again)
            until(lambda: begun(again))
            cluster.remove_node(node, allow_graceful=False)
            cluster.add_node(num_cpus=3)
            assert ends(executor, "again") == {"again": None}
        assert len(begun(again)) == 2
    finally:
        cluster.shutdown()


def test_as_many_processes_as_jobs_each_with_its_card(job):
    executor = ProcessExecutor(2, cards=["5", "MIG-7"])
    first, second, third = (job(name, "wait", gpu=True) for name in ("first", "second", "third"))
    assert [executor.submit(each) for each in (first, second, third)] == [True, True, False]
    until(lambda: begun(first) and begun(second))
    os.kill(int(begun(first)[0].name), signal.SIGKILL)  # the next attempt has the same card
    until(lambda: executor.poll() or len(begun(first)) == 2)
    executor.stop()
    cards = [json.loads(path.read_text())["CUDA_VISIBLE_DEVICES"] for path in begun(first)]
    assert cards == ["5", "5"] and facts(second)["CUDA_VISIBLE_DEVICES"] == "MIG-7"
    more = ProcessExecutor(3, cards=["5", "MIG-7"])
    fourth, fifth, sixth = (
        job("fourth", "write", gpu=True),
        job("fifth", "write"),
        job("sixth", "write", gpu=True),
    )
    assert all(more.submit(each) for each in (fourth, fifth, sixth))
    ends(more, "fourth", "fifth", "sixth")
    cards = [facts(each)["CUDA_VISIBLE_DEVICES"] for each in (fourth, fifth, sixth)]
    assert cards == ["5", os.environ.get("CUDA_VISIBLE_DEVICES"), "5"], "cards are shared in turn"


def test_cards_are_those_that_the_command_sees(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_cards() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-a")
    assert visible_cards() == ["3", "GPU-a"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_cards() == []


@pytest.mark.parametrize("engine", ["ProcessExecutor", pytest.param("RayExecutor", marks=pytest.mark.slow)])
def test_workers_end_with_the_process_that_is_killed(engine, job, tmp_path):
    waits = job("waits", "wait")
    program = (
        "import time; from multitask.experiments.executor.job import Job\n"
        "from multitask.experiments.executor.processes import ProcessExecutor\n"
        "from multitask.experiments.executor.ray_executor import RayExecutor\n"
        f"executor = {engine}(1); executor.submit({waits!r}); time.sleep(1000)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=PACKAGES)
    [path] = until(lambda: begun(waits))
    process.kill()
    process.wait()
    until(lambda: not Path("/proc", path.name).exists())
    assert not Path(waits.argument["folder"], "interrupted").exists()


def test_wrong_engines_are_one_line(monkeypatch):
    with pytest.raises(InputError, match="--engine is 'rai'; choose from processes, ray; did you mean 'ray'"):
        Engine("rai")
    with pytest.raises(InputError, match="--jobs is 0; it must be at least 1"):
        Engine(jobs=0)
    with pytest.raises(InputError, match="give --engine ray too"):
        Engine(address="127.0.0.1:6379")
    for address in ("127.0.0.1:1", "nowhere", "127.0.0.1:many"):
        with pytest.raises(InputError, match=f"--ray-address {address} does not answer .*ray start --head"):
            with Engine("ray", address=address).executor():
                pass
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r'pip install "minbert\[ray\]"'):
        Engine("ray")


def test_no_engine_is_imported_unless_it_is_asked_for():
    program = (
        "import sys; from multitask.experiments.executor.engine import Engine; Engine(jobs=2)\n"
        "assert not {'ray', 'optuna', 'torch'} & sys.modules.keys()"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=PACKAGES).returncode == 0


def test_a_network_file_system_is_named(tmp_path, monkeypatch, caplog):
    (tmp_path / "my home" / "out").mkdir(parents=True)
    mounts = f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path}/my\\040home nfs4 rw 0 0\nproc /proc proc rw 0 0\n"
    (tmp_path / "mounts").write_text(mounts, encoding="utf-8")
    monkeypatch.setattr(shared_folder, "MOUNTS", tmp_path / "mounts")
    warn_of_network(tmp_path)
    assert caplog.messages == []
    warn_of_network(tmp_path / "my home" / "out")
    [message] = caplog.messages
    assert "network file system (nfs4)" in message and "--engine ray" in message


def test_another_folder_under_the_same_name_is_refused(tmp_path):
    known = make_shared_folder(tmp_path / "out")
    assert make_shared_folder(tmp_path / "out") == known
    check_shared_folder(tmp_path / "out", known)
    make_shared_folder(tmp_path / "other")
    for folder in (tmp_path / "other", tmp_path / "missing"):
        with pytest.raises(InputError, match="a file system that all nodes of the cluster share"):
            check_shared_folder(folder, known)
