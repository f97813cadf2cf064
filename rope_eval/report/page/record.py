"""What was run and proven, what failed, and how each run came about."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from rope_eval.report.page.findings import Findings, run_setting_key, setting_key, what
from rope_eval.report.page.model import Cell, Note, Part, State, Table
from rope_eval.report.page.proof import proof_cell
from rope_eval.results.store import Run
from rope_eval.rope.reach import without_effect
from rope_eval.rope.spec import RopeSpec
from rope_eval.setting import stated

_RUN = ("model and setting", "measured")
_STATES: dict[str, State] = {"done": "good", "failed": "bad", "partly failed": "bad"}
_STATES |= {"cannot": "bad"}


def plan_table(found: Findings) -> Table:
    """Return where each cell of the plan stands."""
    rows = []
    for one in found.standings:
        setting = one.cell.setting
        units = f"{one.stored} of {one.units}" if one.units else ""
        rows.append(
            (
                Cell(text=str(setting.row or setting.checkpoint)),
                Cell(text=str(setting.rope)),
                Cell(text=str(one.cell.measurement)),
                Cell(text=one.state, state=_STATES.get(one.state, "warn")),
                Cell(text=units, number=one.stored if one.units else None),
            )
        )
    return Table(
        name="plan",
        title="The plan",
        columns=("model", "setting", "measurement", "state", "units stored"),
        rows=tuple(rows),
        labels=2,
    )


def run_table(found: Findings) -> Table:
    """Return every run and its proof."""
    return Table(
        name="runs",
        title="The runs",
        columns=(*_RUN, "state", "proof", "dtype", "device", "started", "seconds", "key"),
        rows=tuple(_run_row(found, run) for run in found.runs),
        caption=(
            "Proven: before the work, on these weights, the neutral setting scored as the stock "
            "model does and each field of the setting moved a score."
        ),
    )


def _run_row(found: Findings, run: Run) -> tuple[Cell, ...]:
    failed = run.status == "failed"
    lost = run.results.get("failed")
    state = "failed" if failed else "partly failed" if lost else "done"
    note = _without_effect(run)
    ran = run.provenance.get("ran") or [{}]
    seconds = run.provenance.get("duration_s")
    return (
        Cell(text=found.names[run.key]),
        Cell(text=what(run), notes=(note,) if note else ()),
        Cell(text=state, state=_STATES[state]),
        proof_cell(run.provenance.get("proof")),
        Cell(text=_each(ran, "dtype")),
        Cell(text=str((run.provenance.get("machine") or {}).get("gpu") or _each(ran, "device"))),
        Cell(text=str(run.provenance.get("started") or "")[:19].replace("T", " ")),
        Cell(text="" if seconds is None else f"{seconds:.1f}", number=seconds),
        Cell(text=run.key, whole=True),
    )


def _without_effect(run: Run) -> str:
    """Return which fields of the setting changed nothing in what a run measured."""
    lengths = run.request.get("lengths")
    rope = RopeSpec.from_dict(run.request.get("rope") or {})
    row = stated(run.provenance.get("row"), rope)
    if lengths:
        return without_effect(run.results.get("effective_from", {}), lengths[-1], stated=row)
    reach = run.provenance.get("reach") or {}
    lines = (
        without_effect(reach.get("effective_from", {}), longest, f"the longest {kind} request", row)
        for kind, longest in reach.get("longest", {}).items()
    )
    return "; ".join(filter(None, lines))


def _each(ran: list[Mapping[str, Any]], name: str) -> str:
    return ", ".join(dict.fromkeys(str(one[name]) for one in ran if one.get(name)))


def failures(found: Findings) -> list[Part]:
    """Return what failed, each with its reason; a note where nothing did."""
    rows = list(_failed(found))
    if not rows:
        return [Note(text="Nothing failed, and no file was left out.", state="good")]
    return [
        Table(
            name="failures",
            title="What failed",
            columns=("what", "state", "reason"),
            rows=tuple(
                (Cell(text=name), Cell(text=state, state="bad"), Cell(text=why))
                for name, state, why in rows
            ),
        )
    ]


def _failed(found: Findings) -> Iterator[tuple[str, str, str]]:
    said: set[tuple[tuple[str, str] | None, str]] = set()
    for one in found.standings:
        if one.state in ("failed", "partly failed", "cannot"):
            which = setting_key(one.cell.setting)
            said.update((which, why) for why in one.why.split("; "))
            yield str(one.cell), one.state, one.why
    for run in found.runs:
        name = f"{found.names[run.key]}: {what(run)}"
        reasons = [run.error or ""] if run.status == "failed" else []
        reasons += [str(one.get("error")) for one in run.results.get("failed") or ()]
        for why in reasons:
            if (run_setting_key(run), why) not in said:
                yield name, "failed" if run.status == "failed" else "partly failed", why
        for task, record in (run.results.get("tasks") or {}).items():
            if missing := record.get("metadata", {}).get("missing"):
                yield f"{found.names[run.key]}: {task}", "not run", str(missing)
    for entry in found.left_out:
        yield PurePath(entry.path).name, entry.state, entry.why


def provenance_table(found: Findings) -> Table:
    """Return how each run came about."""
    return Table(
        name="provenance",
        title="Provenance",
        columns=("key", *_RUN, "commit", "versions", "machine", "command"),
        rows=tuple(_provenance_row(found, run) for run in found.runs),
        caption=(
            "A key is a hash of all that determines a result: the same request has the same key, "
            "on every machine."
        ),
    )


def _provenance_row(found: Findings, run: Run) -> tuple[Cell, ...]:
    record = run.provenance
    versions = (record.get("versions") or {}).items()
    command = record.get("command")
    return (
        Cell(text=run.key, whole=True),
        Cell(text=found.names[run.key]),
        Cell(text=what(run)),
        Cell(text=str(record.get("git_commit") or "")),
        Cell(text=", ".join(f"{name} {version}" for name, version in versions if version)),
        Cell(text=machine(record)),
        Cell(text=shlex.join(map(str, command)) if isinstance(command, list) else ""),
    )


def machine(record: Mapping[str, Any]) -> str:
    """Return what kind of machine it was; its name is not recorded.

    >>> machine({"machine": {"gpu": None, "processors": 2, "memory_bytes": 4 << 30}})
    '2 processors, 4 GiB'
    """
    said = record.get("machine") or {}
    memory = said.get("memory_bytes")
    parts = (
        said.get("gpu"),
        f"{said['processors']} processors" if said.get("processors") else None,
        f"{memory / (1 << 30):.0f} GiB" if memory else None,
        said.get("platform"),
    )
    return ", ".join(str(part) for part in parts if part)


def is_proven(run: Run) -> bool:
    """Tell whether a run's record has a proof."""
    return proof_cell(run.provenance.get("proof")).text == "proven"
