"""What a claim on a unit is: taken for a block, kept alive in it by a thread, then given back."""

from __future__ import annotations

import os
import platform
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from rope_eval.files import Place

FOLDER = ".claims"  # hidden: a store passes over it
LEASE_SECONDS = 180.0  # longer than any call that stops the other threads of a process


class Claiming(ABC):
    """Claims on the units of a store.

    Args:
        lease: seconds without a sign of its owner after which a claim is void.

    Attributes:
        poll: seconds after which a look at others' claims is worth while.
    """

    poll = 0.5

    def __init__(self, lease: float) -> None:
        self.lease = lease

    @abstractmethod
    def held(self) -> list[str]:
        """Return the keys of the units that live processes are at."""

    @abstractmethod
    def sweep(self, *, dry_run: bool = False) -> tuple[list[Place], list[Place]]:
        """Remove the claims of processes that are dead, or too long silent.

        Where a worker takes over such a claim in the same moment, its unit may be computed twice.

        Args:
            dry_run: only say what would be removed.

        Returns:
            What was removed, and what was kept because its process lives.

        Raises:
            StoreError: a file cannot be removed.
        """

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Claim a unit for the block; False within it where another process has it.

        Raises:
            StoreError: where the store cannot be written.
        """
        name = self._take(key)
        if name is None:
            yield False
            return
        done = threading.Event()
        beat = threading.Thread(target=self._keep_alive, args=(name, done), daemon=True)
        beat.start()
        try:
            yield True
        finally:
            done.set()
            beat.join()
            self._give_back(name)

    @abstractmethod
    def _take(self, key: str) -> str | None:
        """Return the name of the claim that was made, None where another process has one."""

    @abstractmethod
    def _touch(self, name: str) -> None:
        """Give a sign of life for a claim of this process; what fails is tried again later."""

    @abstractmethod
    def _give_back(self, name: str) -> None:
        """Remove a claim of this process, if that can be."""

    def _keep_alive(self, name: str, done: threading.Event) -> None:
        while not done.wait(self.lease / 6):
            self._touch(name)


def newest(names: list[str]) -> dict[str, int]:
    """Return the last generation of each key, of claims' names."""
    found: dict[str, int] = {}
    for name in names:
        key, _, generation = name.rpartition(".")
        if key and generation.isdecimal():
            found[key] = max(int(generation), found.get(key, 0))
    return found


def this_process() -> dict[str, Any]:
    """Return what tells this process from every other one."""
    return {"space": _space(), "pid": os.getpid(), "born": _born(os.getpid())}


def lives(owner: Any) -> bool | None:
    """Tell whether a process of this machine lives; None for another machine's."""
    if not isinstance(owner, dict) or owner.get("space") != _space():
        return None
    return _born(owner.get("pid")) == owner.get("born")


def _space() -> list[str] | str:
    """Return what tells one machine's process numbers from another's; unlike any if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return [platform.node(), boot, str(Path("/proc/self/ns/pid").readlink())]
    except OSError:
        return uuid4().hex


def _born(pid: Any) -> str | None:
    """Return when a process of this machine began, in ticks; None for one that is not there."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    except OSError:
        return None
    state, *rest = after_name.split()
    return None if state in "ZX" else rest[18]
