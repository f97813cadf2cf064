"""The processes that a launcher has started on one measurement: what they tell, and how they end.

They are `torchrun`'s, or of anything that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT as it
does. They talk by gloo, and by NCCL where tensors are on a GPU. When one fails all end with its
exit status, and it alone says why: it leaves a note in the launcher's store, which the others look
at while they compute.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from rope_eval.errors import OtherProcessError, ProcessError, RopeEvalError, SpecError

FAILED, READ = "rope-eval/failed", "rope-eval/read"  # in the launcher's store
FOREVER = timedelta(days=30)  # a process may wait for another that reads a long book
LOOK = 0.2  # seconds between two looks at the note
PATIENCE = 3.0  # seconds until a process that should have ended is ended


@dataclass(kw_only=True, slots=True)
class Processes:
    """Those that measure together, as one of them sees them.

    Attributes:
        rank: its own number; 0 is the one that prints and stores.
        size: how many they are.
        exchanges: how often tensors were exchanged.
        received: bytes of others' tensors that have reached it.
    """

    rank: int
    size: int
    exchanges: int = 0
    received: int = 0

    def everyones(self, x: Tensor) -> Tensor:
        """Return the tensors of all, which have one shape: ``[processes, …]``, ours among them."""
        sent = x.contiguous().flatten().view(torch.uint8)  # gloo does not know every dtype
        found = sent.new_empty(self.size * len(sent))
        with _talking():
            _gather(found, sent)
        self.exchanges += 1
        self.received += (self.size - 1) * len(sent)
        return found.view(x.dtype).view(self.size, *x.shape)

    def told(self, what: Any = None) -> Any:
        """Return what process 0 says."""
        said = [what]
        with _talking():
            dist.broadcast_object_list(said, src=0)
        return said[0]

    def collected(self, what: Any) -> list[Any]:
        """Return to process 0 what each says, by its number; to the others nothing."""
        said: list[Any] = [None] * self.size if self.rank == 0 else []
        with _talking():
            dist.gather_object(what, said or None, dst=0)
        return said


# the newer name of what torch 2.6 to 2.12 have under the second alone
_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


@contextmanager
def joined() -> Iterator[Processes]:
    """Meet the other processes of the launcher, and end with them.

    Raises:
        SpecError: where they cannot meet.
        OtherProcessError: where another has failed, which has said why.
        ProcessError: where another has ended and has said nothing.
        RopeEvalError: of any kind that was raised within, with the number of the process.
    """
    where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    try:
        store, rank, size = next(iter(dist.rendezvous("env://")))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store.set_timeout(FOREVER)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=FOREVER)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise SpecError(f"the launcher's processes cannot meet at {where}: {reason}") from error
    note = _Note(store, rank, size)
    try:
        yield Processes(rank=rank, size=size)
        with _talking():
            dist.barrier()  # whoever keeps the store is the last to leave
    except BaseException as error:
        ended = note.of(error)
        if ended is error:
            raise
        raise ended from None
    finally:
        note.close()
        dist.destroy_process_group()


class _LostError(Exception):
    """Another process cannot be reached."""


@contextmanager
def _talking() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo and NCCL
        raise _LostError from error


class _Note:
    """What the first process that fails leaves in the launcher's store, and who looks at it."""

    def __init__(self, store: dist.Store, rank: int, size: int):
        self.store, self.rank, self.size = store, rank, size
        self.failed: int | None = None  # with which status, if it is known
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()
        self._watch.join()

    def of(self, error: BaseException) -> BaseException:
        """Return what this process is to end with, after the others know of the first error."""
        if isinstance(error, _LostError):
            for _ in range(int(PATIENCE / LOOK)):
                if self.failed is not None:
                    return OtherProcessError(self.failed)
                time.sleep(LOOK)
            error = ProcessError(
                f"one of the {self.size} processes has ended without a word, as the system's "
                "memory killer ends one: look at the machine's log, and give each less to hold "
                "(--chunk-size, fewer processes a machine)"
            )
        code = getattr(error, "exit_code", 130 if isinstance(error, KeyboardInterrupt) else 1)
        if not self._is_first(code):
            return OtherProcessError(code if self.failed is None else self.failed)
        if isinstance(error, RopeEvalError) and self.rank:
            error.args = (f"{error} (process {self.rank} of {self.size})", *error.args[1:])
        return error

    def _is_first(self, code: int) -> bool:
        """Leave the note if there is none, and wait until the others have read it."""
        self._closed.set()
        self._watch.join()
        own = f"{self.rank} {code}"
        try:
            said = self.store.compare_set(FAILED, "", own).decode()
            if said != own:
                self.failed = int(said.split()[1])
                return False
            for _ in range(int(PATIENCE / LOOK)):
                if self.store.add(READ, 0) >= self.size - 1:
                    break
                time.sleep(LOOK / 4)
        except RuntimeError:  # the store has gone with its process
            return self.failed is None
        return True

    def _look(self) -> None:
        while not self._closed.wait(LOOK):
            try:
                if not self.store.check([FAILED]):
                    continue
                self.failed = int(self.store.get(FAILED).split()[1])
                self.store.add(READ, 1)
            except RuntimeError:
                return
            if not self._closed.wait(PATIENCE):
                os._exit(self.failed)
            return
