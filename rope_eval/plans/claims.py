"""Claims: which process is at which unit, in files that processes of one store share.

A claim is ``<key>.<generation>``, made by an exclusive create. Its owner touches it while it works;
one that was not touched for the time of a lease, or whose process is known to be dead, is
superseded by the next generation, and never removed by anyone but its owner. A process that slept
past its lease may so compute a unit twice, and never wrongly: results appear whole or not at all.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from rope_eval.errors import StoreError

FOLDER = ".claims"  # hidden: a store passes over it
LEASE_SECONDS = 180.0  # longer than any call that stops the other threads of a process
WRITE_SECONDS = 5.0


class Claims:
    """The claims in a store's folder.

    Args:
        root: the store's folder.
        lease: seconds without a touch after which a claim is void.
    """

    def __init__(self, root: Path, lease: float = LEASE_SECONDS) -> None:
        self.folder = root / FOLDER
        self.lease = lease

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Claim a unit for the block; False within it where another process has it.

        Raises:
            StoreError: where the folder cannot be written.
        """
        path = self._take(key)
        if path is None:
            yield False
            return
        done = threading.Event()
        beat = threading.Thread(target=self._touch, args=(path, done), daemon=True)
        beat.start()
        try:
            yield True
        finally:
            done.set()
            beat.join()
            with suppress(OSError):
                path.unlink()

    def held(self) -> list[str]:
        """Return the keys of the units that live processes are at."""
        newest: dict[str, int] = {}
        for path in self.folder.glob("*.*"):
            key, _, generation = path.name.rpartition(".")
            if key and generation.isdecimal():
                newest[key] = max(int(generation), newest.get(key, 0))
        now = time.time()
        with suppress(OSError):  # of a store that can only be read
            now = self._now() if newest else now
        return [key for key, g in newest.items() if self._lives(self._path(key, g), now)]

    def sweep(self, *, dry_run: bool = False) -> tuple[list[Path], list[Path]]:
        """Remove the claims of processes that are dead, or too long silent.

        Where a worker takes over such a claim in the same moment, its unit may be computed twice.

        Args:
            dry_run: only say what would be removed.

        Returns:
            What was removed, and what was kept because its process lives.

        Raises:
            StoreError: a file cannot be removed.
        """
        removed: list[Path] = []
        kept: list[Path] = []
        if not self.folder.is_dir():
            return removed, kept
        try:
            now = time.time() if dry_run else self._now()
            for path in sorted(self.folder.iterdir()):
                lives = self._lives(path, now)
                if not lives and not dry_run:
                    path.unlink(missing_ok=True)
                (kept if lives else removed).append(path)
        except OSError as error:
            raise StoreError(f"cannot sweep {self.folder}: {error.strerror or error}") from error
        return removed, kept

    def _path(self, key: str, generation: int) -> Path:
        return self.folder / f"{key}.{generation}"

    def _take(self, key: str) -> Path | None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            last = max(
                (int(g) for p in self.folder.glob(f"{key}.*") if (g := p.suffix[1:]).isdecimal()),
                default=-1,
            )
            if last >= 0 and self._lives(self._path(key, last), self._now()):
                return None
            path = self._path(key, last + 1)
            try:
                with path.open("x", encoding="utf-8") as file:
                    json.dump(_this_process(), file)
            except FileExistsError:
                return None  # another was faster
        except OSError as error:
            raise StoreError(
                f"cannot write to {self.folder}: {error.strerror or error}. Check the folder's "
                "permissions and free space, and run the plan again: it goes on where it was"
            ) from error
        return path

    def _now(self) -> float:
        """Return the time by the clock that the files' times are of."""
        probe = self.folder / f".{uuid4().hex}"
        try:
            probe.touch()
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def _lives(self, path: Path, now: float) -> bool:
        try:
            touched, text = path.stat().st_mtime, path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        if now - touched > self.lease:
            return False
        try:
            owner = json.loads(text)
        except ValueError:
            return now - touched < WRITE_SECONDS  # being written, or its owner died at it
        here = _this_process()
        if not isinstance(owner, dict) or owner.get("space") != here["space"]:
            return True
        return _born(owner.get("pid")) == owner.get("born")

    def _touch(self, path: Path, done: threading.Event) -> None:
        while not done.wait(self.lease / 6):
            with suppress(OSError):
                os.utime(path)


def _this_process() -> dict[str, Any]:
    return {"space": _space(), "pid": os.getpid(), "born": _born(os.getpid())}


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
