"""Encodes the parts of a corpus by several processes of this machine, each with an encoder of its own."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait

from minbert.corpus.parts import PartFolder
from minbert.errors import InputError


def encode_by_processes(
    folder: PartFolder,
    load: Callable,
    workers: int,
    threads: int,
    cards: list[str] | None,
    done: Callable[[int], object],
) -> None:
    """Encodes the missing parts; calls `done` with numbers of rows as they are encoded.

    `load` returns a process's encoder; `cards` names the CUDA device of each worker as CUDA_VISIBLE_DEVICES
    does. What a worker that died was working on is done by the others. Raises InputError once all have died,
    and what a worker raised.
    """
    context = get_context("spawn")
    waiting = deque(folder.missing())
    processes, working = {}, {}  # connection -> process, number of the part that it is working on

    def give(connection: Connection) -> None:
        working[connection] = waiting.popleft() if waiting else None
        connection.send(working[connection])

    try:
        for worker in range(min(workers, len(waiting))):
            ours, theirs = context.Pipe()
            card = cards and cards[worker]
            arguments = (theirs, folder, load, threads, card)
            processes[ours] = context.Process(target=_work, args=arguments, daemon=True)
            processes[ours].start()
            theirs.close()  # so that the death of the worker ends the connection
            give(ours)
        while processes:
            for connection in wait(list(processes)):
                try:
                    answer = connection.recv()
                    if isinstance(answer, Exception):
                        raise answer
                    if answer is None:  # the part is there
                        give(connection)
                    else:
                        done(answer)
                except (EOFError, ConnectionError):
                    processes.pop(connection).join()
                    part = working.pop(connection)
                    if part is not None:
                        waiting.append(part)
        if waiting:
            raise InputError(
                f"all worker processes ended, perhaps killed for lack of memory; {len(waiting)} parts are "
                f"missing: start the command again with fewer --workers"
            )
    finally:
        for process in processes.values():
            process.terminate()
            process.join()


def _work(parts: Connection, folder: PartFolder, load: Callable, threads: int, card: str | None) -> None:
    # Ctrl-C reaches all processes; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["RAYON_NUM_THREADS"] = str(threads)  # of the tokenizers library
    if card is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = card
    try:
        encoder = load()
        while (number := parts.recv()) is not None:
            folder.encode(number, encoder, parts.send)
            parts.send(None)
    except (EOFError, ConnectionError):  # the command is gone
        pass
    except (InputError, OSError) as error:
        parts.send(error)


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)
