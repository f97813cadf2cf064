"""Random kills over a plan: nothing lost, doubled or different from an undisturbed run.

Each round starts a worker on a plan of 50 units and kills it (SIGKILL) at a random moment, every
fourth round inside a write; after a whole plan the results are compared and a new folder is begun.
The workers are forked from one process that has loaded the libraries.

    python benchmarks/plan_kills.py                # 200 kills
    python benchmarks/plan_kills.py --kills 10
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers  # noqa: F401  (imported once, for all workers)

from rope_eval.paths import asset
from rope_eval.plans.cell import Cell
from rope_eval.plans.plan import Plan
from rope_eval.plans.worker import work
from rope_eval.results import folders as writing
from rope_eval.results.store import Store
from rope_eval.rope.spec import RopeSpec

Unit = tuple[str, str]  # the setting, and the document's name
UNITS = 50
PLAN = """\
loading: {{device: cpu, proof: off}}
models: [{model}]
settings:
  - grid: {{rope_theta: [500, 1000, 10000, 100000, 1000000]}}
measurements:
  - perplexity: {{books: builtin-chapters, lengths: [32, 128], docs: 10}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        figures = kill(Path(folder), args.kills, random.Random(args.seed))
    print(json.dumps(figures, indent=2))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def kill(folder: Path, kills: int, chance: random.Random) -> dict[str, Any]:
    """Return what so many kills did."""
    file = folder / "plan.yaml"
    file.write_text(PLAN.format(model=asset("model_configs") / "lab" / "base-20"))
    plan = Plan.read(file)
    calm = Store(folder / "calm")
    start = time.perf_counter()
    attempt(plan, calm, None)
    unit_s = (time.perf_counter() - start) / UNITS
    right = results(calm)
    figures = dict.fromkeys(
        ("kills", "in_a_write", "plans", "lost", "doubled", "different", "most_work_lost"), 0
    )
    while figures["kills"] < kills:
        store = Store(folder / f"killed-{figures['plans']}")
        had: dict[Unit, bytes] = {}
        over = False
        while not over:
            in_a_write = figures["kills"] % 4 == 3
            wait = chance.uniform(0, 6 * unit_s) if figures["kills"] < kills else None
            begun, died = attempt(plan, store, wait, chance if in_a_write else None)
            now = kept(store)
            figures["kills"] += died
            figures["in_a_write"] += died and in_a_write
            figures["lost"] += len(had.keys() - now.keys())
            figures["doubled"] += len(begun & had.keys())
            figures["different"] += sum(now.get(unit, data) != data for unit, data in had.items())
            figures["most_work_lost"] = max(figures["most_work_lost"], len(begun - now.keys()))
            had, over = now, not died
        figures["different"] += results(store) != right
        figures["plans"] += 1
    return figures


def attempt(
    plan: Plan, store: Store, wait: float | None, in_a_write: random.Random | None = None
) -> tuple[set[Unit], bool]:
    """Return the units that a worker began, and whether it was killed before its end."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        status = 1
        try:
            if in_a_write is not None and wait is not None:
                die_in_a_write(in_a_write.randrange(1, 12))
                wait = None
            os.write(write, b"\n")
            status = 1 if work(plan, store, progress=partial(log, write)).failed else 0
        finally:
            os._exit(status)
    os.close(write)
    said = os.read(read, 1)
    if wait is not None and in_a_write is None:
        time.sleep(wait)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    while more := os.read(read, 1 << 16):
        said += more
    os.close(read)
    if not os.WIFSIGNALED(status) and status:
        sys.exit("a worker failed")
    lines = [line.split("\t") for line in said.decode().split("\n")[:-1] if line]
    return {(rope, name) for rope, name in lines}, os.WIFSIGNALED(status)


def log(write: int, cell: Cell, unit: str, part: float) -> None:
    """Write which unit a worker is at."""
    os.write(write, f"{cell.setting.rope}\t{unit}\n".encode())


def die_in_a_write(which: int) -> None:
    """Have a worker kill itself in its `which`-th write of a run, the file half written."""
    left = [which]

    def half(path: Path, data: bytes) -> None:
        left[0] -= 1
        if left[0]:
            real(path, data)
            return
        path.write_bytes(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    real: Callable[[Path, bytes], None] = writing.write
    writing.write = half


def kept(store: Store) -> dict[Unit, bytes]:
    """Return the files of a store's whole documents; any that is damaged ends it all."""
    found = {}
    for entry in store.documents.entries():
        if entry.state not in ("ok", "leftover"):
            sys.exit(str(entry))
        if entry.run is not None and entry.run.kind == "document":
            rope = str(RopeSpec.from_dict(entry.run.request["rope"]))
            found[rope, entry.run.provenance["document"]] = entry.path.read_bytes()
    return found


def results(store: Store) -> dict[str, Any]:
    """Return the results of a store by their keys, those of documents with their arrays."""
    of_runs = {run.key: run.results for run in store.runs()}
    of_documents = {
        run.key: {name: a.tobytes() for name, a in store.documents.arrays(run.key).items()}
        for run in store.documents.runs()
        if run.kind == "document"
    }
    if len(of_documents) != UNITS:
        sys.exit(f"{len(of_documents)} of {UNITS} units")
    return of_runs | of_documents


if __name__ == "__main__":
    main()
