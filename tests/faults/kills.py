"""Trains a run in processes that signals end at random moments, until it is whole; a program of its own.

python tests/faults/kills.py CONFIG.json FOLDER KILLS SIGNAL PROCESSES SEED

A run is begun in FOLDER as often as it takes to send the signal so many times. Each process is forked from
this one, which has imported all and computed nothing. Each run that came to its end is to have the bits of
the one that nothing stopped. Prints how often the signal came.
"""

import json
import os
import random
import shutil
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from multitask import RunConfig, resume, train
from tests.multitask.runs import assert_same_run

HANGS = 120  # seconds
ENDED = {signal.SIGKILL: (-9,), signal.SIGTERM: (-15, 143)}  # SIGTERM ends a process that still loads


def start(config: RunConfig, rank: int, processes: int, port: int) -> int:
    """Forks a process that begins or continues the run in `config.out`; returns its id."""
    if child := os.fork():
        return child
    status = 1
    try:
        if processes > 1:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        torch.set_num_threads(1)
        resume(config.out) if (Path(config.out) / "config.json").is_file() else train(config)
        status = 0
    except SystemExit as error:
        status = error.code
    except BaseException as error:
        text = str(error).splitlines() or [""]
        print(f"process {rank}: {type(error).__name__}: {text[0]}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)


def wait(children: list[int]) -> list[int]:
    """Returns the statuses of processes; as with torchrun, SIGTERM ends the others where one has failed."""
    statuses: dict[int, int] = {}
    deadline = float("inf")
    while len(statuses) < len(children):
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            statuses[child] = os.waitstatus_to_exitcode(status)
            if statuses[child] and deadline == float("inf"):
                deadline = time.monotonic() + HANGS
                for other in set(children) - statuses.keys():
                    os.kill(other, signal.SIGTERM)
        else:
            assert time.monotonic() < deadline, "a process stays where another one has failed"
            time.sleep(0.01)
    return [statuses[child] for child in children]


def attempt(config: RunConfig, processes: int, number: int | None = None, seconds: float = 0.0) -> list[int]:
    """Starts processes, sends a signal after some seconds, SIGKILL to one of them; -> statuses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    children = [start(config, rank, processes, port) for rank in range(processes)]
    if number is not None:
        time.sleep(seconds)
        for child in random.sample(children, 1) if number == signal.SIGKILL else children:
            os.kill(child, number)  # one that has ended is still there to be waited for
    return wait(children)


def main(config_file: str, folder: str, kills: int, number: int, processes: int, seed: int) -> None:
    random.seed(seed)
    values = json.loads(Path(config_file).read_text(encoding="utf-8"))
    whole, out = Path(folder) / "whole", Path(folder) / "run"
    config = RunConfig.from_dict(values | {"out": str(out)})
    started = time.monotonic()
    assert attempt(replace(config, out=str(whole)), processes) == [0] * processes
    longest = time.monotonic() - started
    done = compared = 0
    while done < kills or not compared:
        shutil.rmtree(out, ignore_errors=True)
        statuses = [1]
        while any(statuses):
            kill = done < kills
            statuses = attempt(config, processes, number if kill else None, random.uniform(0, longest))
            hit = any(status in ENDED[number] for status in statuses)
            assert hit or not any(statuses), f"ended by itself with {statuses} after {done} signals"
            done += hit
        assert_same_run(out, whole)
        left = [path.name for path in out.rglob("*") if path.name.startswith(".")]
        assert not left, left
        compared += 1
    print(f"{done} signals, {compared} runs compared")


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
