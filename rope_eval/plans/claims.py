"""Claims: which process is at which unit, in files that processes of one store share.

A claim is ``<key>.<generation>``, made by an exclusive create. Its owner touches it while it works;
one that was not touched for the time of a lease, or whose process is known to be dead, is
superseded by the next generation, and never removed by anyone but its owner. A process that slept
past its lease may so compute a unit twice, and never wrongly: results appear whole or not at all.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from rope_eval.errors import StoreError
from rope_eval.files import Place
from rope_eval.plans.claiming import (
    FOLDER,
    LEASE_SECONDS,
    Claiming,
    lives,
    newest,
    this_process,
)

WRITE_SECONDS = 5.0


class Claims(Claiming):
    """The claims in a store's folder.

    Args:
        root: the store's folder.
        lease: seconds without a touch after which a claim is void.
    """

    def __init__(self, root: Path, lease: float = LEASE_SECONDS) -> None:
        super().__init__(lease)
        self.folder = root / FOLDER

    def held(self) -> list[str]:
        """Return the keys of the units that live processes are at."""
        found = newest([path.name for path in self.folder.glob("*.*")])
        now = time.time()
        with suppress(OSError):  # of a store that can only be read
            now = self._now() if found else now
        return [key for key, g in found.items() if self._lives(self.folder / f"{key}.{g}", now)]

    def sweep(self, *, dry_run: bool = False) -> tuple[list[Place], list[Place]]:
        """Remove the claims of processes that are dead, or too long silent."""
        removed: list[Place] = []
        kept: list[Place] = []
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

    def _take(self, key: str) -> str | None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            found = newest([path.name for path in self.folder.glob(f"{key}.*")])
            last = found.get(key, -1)
            if last >= 0 and self._lives(self.folder / f"{key}.{last}", self._now()):
                return None
            name = f"{key}.{last + 1}"
            try:
                with (self.folder / name).open("x", encoding="utf-8") as file:
                    self._sign(name, file)
            except FileExistsError:
                return None  # another was faster
        except OSError as error:
            raise StoreError(
                f"cannot write to {self.folder}: {error.strerror or error}. Check the folder's "
                "permissions and free space, and run the plan again: it goes on where it was"
            ) from error
        return name

    def _sign(self, name: str, file: IO[str]) -> None:
        try:
            json.dump(this_process(), file)
        except BaseException:  # an interrupt: unsigned it would stand for seconds
            self._give_back(name)
            raise

    def _touch(self, name: str) -> None:
        with suppress(OSError):
            os.utime(self.folder / name)

    def _give_back(self, name: str) -> None:
        with suppress(OSError):
            (self.folder / name).unlink()

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
        return lives(owner) is not False
