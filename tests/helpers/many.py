"""Several processes of one test: forks of it, which meet as those of a launcher do."""

from __future__ import annotations

import io
import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection
from typing import Any

import torch

from rope_eval.cli import main
from rope_eval.scoring.processes import Processes, joined


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def together(size: int, work: Callable[[Processes], Any]) -> list[Any]:
    """Return what each of several processes makes of the same work, or raise what one could not."""

    def joining() -> tuple[bool, Any]:
        try:
            with joined() as processes:
                return True, work(processes)
        except BaseException:
            return False, traceback.format_exc()

    found = forked(size, joining)
    if failed := [what for done, what in found if not done]:
        raise AssertionError("\n".join(failed))
    return [what for _, what in found]


def commanded(
    size: int, words: Sequence[str], before: Callable[[int], None] = lambda rank: None
) -> list[tuple[int, str, str]]:
    """Run `rope-eval` in several processes; return each one's exit status, output and errors.

    Args:
        size: how many.
        words: of the command.
        before: what each does first, given its number.
    """

    def run() -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            before(int(os.environ["RANK"]))
            try:
                status = main(words)
            except SystemExit as left:
                status = int(left.code or 0)
            except BaseException:
                traceback.print_exc()
                status = 1
        return status, out.getvalue(), err.getvalue()

    return forked(size, run)


def forked(size: int, run: Callable[[], Any]) -> list[Any]:
    """Return what each fork returns; of a killed one its exit status and two empty texts."""
    fork = multiprocessing.get_context("fork")
    port = free_port()
    pipes = [fork.Pipe(duplex=False) for _ in range(size)]
    started = []
    for rank, (_, sender) in enumerate(pipes):
        process = fork.Process(target=_child, args=(sender, run, rank, size, port))
        process.start()
        sender.close()
        started.append(process)
    found: list[Any] = []
    for process, (receiver, _) in zip(started, pipes, strict=True):
        try:
            found.append(receiver.recv())
        except EOFError:
            process.join()
            found.append((process.exitcode, "", ""))
        process.join()
    return found


def _child(sender: Connection, run: Callable[[], Any], rank: int, size: int, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    sender.send(run())
