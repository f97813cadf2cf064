"""Claims in a store that is no folder of this machine: objects that their owners write anew.

A claim is ``<key>.<generation>`` here too. Its owner writes it anew while it works, and whoever
waits for it looks whether it changes: one that stayed the same for the time of a lease, by the
clock of who looks, is superseded by the next generation, so no two clocks are compared and no
file's time is needed. Where a new file can be created exclusively one process gets a claim.
Elsewhere, and where a server does not keep its promise, a claim is read back after a moment: of two
that were written at once the last one stands, and a unit is computed twice only if a write takes
longer than that moment. A unit is never computed wrongly: results appear whole or not at all.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
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
from rope_eval.plans.claims import Claims
from rope_eval.results.remote import RemoteFolder
from rope_eval.results.store import Store

SETTLE_SECONDS = 3.0  # from one process's look at what is claimed to the end of its write


def claims_of(store: Store) -> Claiming:
    """Return the claims on a store's units, wherever it is."""
    if isinstance(store.folder, RemoteFolder):
        return RemoteClaims(store.folder)
    return Claims(Path(store.root))


class RemoteClaims(Claiming):
    """The claims in a store on another machine.

    Args:
        folder: the store's.
        lease: seconds without a change after which a claim is void.
        settle: seconds after which a claim is read back where creating is not exclusive.
    """

    poll = 2.0  # each look is some requests

    def __init__(
        self,
        folder: RemoteFolder,
        lease: float = LEASE_SECONDS,
        settle: float = SETTLE_SECONDS,
    ) -> None:
        super().__init__(lease)
        self.folder = folder.below(FOLDER)
        self._settle = settle
        self._owner = {"id": uuid4().hex} | this_process()
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._is_exclusive: bool | None = None

    def held(self) -> list[str]:
        """Return the keys of the units that live processes are at, by what their claims say."""
        found = newest(self.folder.names())
        names = [f"{key}.{generation}" for key, generation in found.items()]
        contents = self.folder.read_each(names)
        return [
            key
            for key, data in zip(found, contents, strict=True)
            if isinstance(data, bytes) and self._says_it_lives(data)
        ]

    def sweep(self, *, dry_run: bool = False) -> tuple[list[Place], list[Place]]:
        """Remove the claims of processes that are dead, or too long silent by what they say."""
        removed: list[Place] = []
        kept: list[Place] = []
        names = self.folder.names()
        for name, data in zip(names, self.folder.read_each(names), strict=True):
            alive = isinstance(data, bytes) and self._says_it_lives(data)
            if not alive and not dry_run:
                self.folder.remove(name)
            (kept if alive else removed).append(self.folder.place(name))
        return removed, kept

    def _take(self, key: str) -> str | None:
        last = newest(self.folder.names()).get(key, -1)
        if last >= 0 and self._lives(f"{key}.{last}"):
            return None
        name, text = f"{key}.{last + 1}", self._text()
        placed = self.folder.publish(name, text, replace=False)
        if placed and self._creates_exclusively():
            return name
        if placed:
            time.sleep(self._settle)
        # without `placed`: a write whose answer was lost, and that was tried again
        return name if self.folder.read(name) == text else None

    def _touch(self, name: str) -> None:
        with suppress(StoreError):
            if self._is_ours(name):
                self.folder.publish(name, self._text(), replace=True)

    def _give_back(self, name: str) -> None:
        with suppress(StoreError):
            if self._is_ours(name):
                self.folder.remove(name)

    def _text(self) -> bytes:
        return json.dumps(self._owner | {"at": time.time(), "beat": uuid4().hex}).encode()

    def _is_ours(self, name: str) -> bool:
        data = self.folder.read(name)
        return data is not None and _parsed(data).get("id") == self._owner["id"]

    def _lives(self, name: str) -> bool:
        data = self.folder.read(name)
        if data is None or lives(_parsed(data)) is False:
            return False
        before, since = self._seen.get(name, (b"", 0.0))
        now = time.monotonic()
        if data != before:
            self._seen[name] = data, now
            return True
        return now - since <= self.lease

    def _says_it_lives(self, data: bytes) -> bool:
        owner = _parsed(data)
        return lives(owner) is not False and time.time() - owner.get("at", 0.0) <= self.lease

    def _creates_exclusively(self) -> bool:
        """Tell whether a second create of one file is refused; some servers of S3 do not."""
        if self._is_exclusive is None:
            probe = f".{uuid4().hex}"
            twice = [self.folder.publish(probe, b"", replace=False) for _ in range(2)]
            self.folder.remove(probe)
            self._is_exclusive = self.folder.is_exclusive and twice == [True, False]
        return self._is_exclusive


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        owner = json.loads(data)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}
