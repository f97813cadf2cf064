"""Several processes of one test: forks of it, which meet as those of a launcher do."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from rope_eval.scoring.processes import Processes, joined


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def launched(rank: int, size: int, port: int) -> dict[str, str]:
    """Return what a launcher tells one of its processes."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def together(size: int, work: Callable[[Processes], Any]) -> list[Any]:
    """Return what each of several processes makes of the same work, or raise what one could not."""
    fork = multiprocessing.get_context("fork")
    port = free_port()
    pipes = [fork.Pipe(duplex=False) for _ in range(size)]
    started = [
        fork.Process(target=_run, args=(pipes[rank][1], work, launched(rank, size, port)))
        for rank in range(size)
    ]
    for process, (_, sender) in zip(started, pipes, strict=True):
        process.start()
        sender.close()
    found = [receiver.recv() for receiver, _ in pipes]
    for process in started:
        process.join()
    if failed := [what for done, what in found if not done]:
        raise AssertionError("\n".join(failed))
    return [what for _, what in found]


def _run(sender: Connection, work: Callable[[Processes], Any], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        with joined() as processes:
            found = work(processes)
        sender.send((True, found))
    except BaseException:
        sender.send((False, traceback.format_exc()))
