"""All findings of a laboratory: in a folder as Markdown, JSON and figures, and in the terminal.

::

    grid = find_grid("lab")
    laboratory = read_laboratory(open_measured(Path("results/lab"), grid), grid)
    found = find_all(laboratory)
    print(summary_table(found))
    write_findings(laboratory, folder, found)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

from rope_eval.errors import DataError, StoreError
from rope_eval.report.figures import style
from studies.scaling_laws.claim import Finding, markdown_table, table
from studies.scaling_laws.claims import (
    attention,
    b_alone,
    bases,
    beyond_critical,
    bound,
    critical_base,
    distances,
    extending,
    methods,
    periods,
    pivots,
    retrieval,
    seeds,
)
from studies.scaling_laws.runs import Laboratory
from studies.scaling_laws.verdicts import RULE, Statement, against_seeds

CLAIMS: dict[str, Callable[[Laboratory], Finding]] = {
    "bases": bases.find,
    "bound": bound.find,
    "pivots": pivots.find,
    "critical-base": critical_base.find,
    "methods": methods.find,
    "attention": attention.find,
    "beyond-critical": beyond_critical.find,
    "periods": periods.find,
    "retrieval": retrieval.find,
    "distances": distances.find,
    "b-alone": b_alone.find,
    "extending": extending.find,
    "seeds": seeds.find,
}


def find_all(laboratory: Laboratory) -> tuple[Finding, ...]:
    """Return all findings; one that lacks its runs says so instead of having numbers.

    A point that one seed alone answers the other way is open, whatever all of them together say.
    """
    alone = {seed: laboratory.of_seed(seed) for seed in laboratory.seeds}
    return tuple(_of_all_seeds(laboratory, alone, name) for name in CLAIMS)


def _of_all_seeds(laboratory: Laboratory, alone: Mapping[int, Laboratory], name: str) -> Finding:
    whole = _found(laboratory, name)
    if not whole.checks:
        return whole
    by_seed = {seed: _found(one, name).checks for seed, one in alone.items()}
    return replace(whole, checks=against_seeds(whole.checks, by_seed))


def _found(laboratory: Laboratory, name: str) -> Finding:
    try:
        return CLAIMS[name](laboratory)
    except DataError as error:
        title = name.replace("-", " ").capitalize()
        return Finding(name=name, title=title, source="", claim="", missing=str(error))


def summary_table(found: Sequence[Finding]) -> str:
    """Return the findings as text for the terminal: verdict and main numbers."""
    rows = [[f.name, f.verdict, f.headline if f.missing is None else f.missing] for f in found]
    return tabulate(
        rows,
        headers=["finding", "verdict", "numbers"],
        maxcolwidths=[None, None, 76],
        disable_numparse=True,
    )


def verdict_table(found: Sequence[Finding]) -> str:
    """Return the verdicts as Markdown: a statement a row; those alike of many subjects, in one.

    Failed controls are named below those of their finding.
    """
    rows = [row for f in found for row in _verdicts(f)]
    headers = ["finding", "statement", "verdict", "tested"]
    return markdown_table(headers, rows, left=len(headers))


def _verdicts(finding: Finding) -> list[list[str]]:
    if finding.missing is not None:
        return [[finding.title, "–", "not measured", finding.missing]]
    some = finding.statements
    if not some:
        return [[finding.title, "–", finding.verdict, finding.headline]]
    rows = []
    for one in some:
        if not one.subject:
            rows.append([one.text, one.grade, one.tested])
            continue
        alike = [o for o in some if (o.claimed, o.grade) == (one.claimed, one.grade)]
        if alike[0] is one:
            rows.append([one.claimed, one.grade, ", ".join(o.subject for o in alike)])
    rows += [
        [one.text, "control failed", ", ".join(failed)]
        for one in finding.controls
        if (failed := one.at(False))
    ]
    return [[finding.title if i == 0 else "", *row] for i, row in enumerate(rows)]


def to_dict(laboratory: Laboratory, found: Sequence[Finding]) -> dict[str, Any]:
    """Return everything as plain JSON values."""
    return {
        "grid": laboratory.grid,
        "text": laboratory.text,
        "train_length": laboratory.train_length,
        "pretrain_theta": laboratory.pretrain_theta,
        "head_dim": laboratory.head_dim,
        "checkpoints": [c.name for c in laboratory.checkpoints],
        "failed_runs": list(laboratory.failed),
        "findings": {
            f.name: {
                "verdict": f.verdict,
                "missing": f.missing,
                "headline": f.headline,
                "statements": [_statement(one) for one in f.statements],
                "controls": [_statement(one) for one in f.controls],
                "numbers": f.numbers,
            }
            for f in found
        },
    }


def _statement(one: Statement) -> dict[str, Any]:
    points = [{"at": c.at, "holds": c.holds, "contrary_seeds": list(c.seeds)} for c in one.checks]
    return {"statement": one.text, "grade": None if one.control else one.grade, "points": points}


def to_markdown(laboratory: Laboratory, found: Sequence[Finding]) -> str:
    """Return everything as Markdown, for the folder that the figures are in."""
    parts = [_failed(laboratory), RULE, *(_section(f) for f in found)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _failed(laboratory: Laboratory) -> str:
    lines = [f"- {line}" for line in laboratory.failed]
    return "\n".join(["Runs that failed, and are missing below:", "", *lines]) if lines else ""


def _section(finding: Finding) -> str:
    if finding.missing is not None:
        return f"## {finding.title}\n\nnot measured: {finding.missing}"
    parts = [
        f"## {finding.title}",
        f"The claim ({finding.source}): {finding.claim}",
        f"**Verdict: {finding.verdict}.** {finding.headline}.",
        *(f"![{p.shows}]({p.file})" for p in finding.pictures),
        *finding.tables,
        *_verdict_parts(finding),
        f"Measured on: {finding.basis}",
        *finding.definitions,
    ]
    return "\n\n".join(parts)


def _verdict_parts(finding: Finding) -> list[str]:
    if not finding.checks:
        return []
    parts = [
        table(
            "What the verdict follows from",
            ["statement", "verdict", "tested"],
            [[one.text, one.grade, one.tested] for one in finding.statements],
            left=3,
        )
    ]
    if finding.controls:
        rows = [
            [one.text, ", ".join(one.at(False)) or "none", ", ".join(one.at(None)) or "none"]
            for one in finding.controls
        ]
        parts.append(table("Controls", ["control", "failed at", "open at"], rows, left=3))
    contrary = [
        [f"{c.subject} {c.statement}".strip(), c.at, ", ".join(map(str, c.seeds))]
        for c in finding.checks
        if c.seeds
    ]
    if contrary:
        words = "Open because one seed alone says the contrary"
        parts.append(table(words, ["statement", "at", "seeds"], contrary, left=3))
    parts.append(f"The criterion: {finding.criterion}")
    return parts


def write_findings(
    laboratory: Laboratory, folder: Path, found: Sequence[Finding] | None = None
) -> list[Path]:
    """Write figures, ``findings.json`` and ``findings.md`` to a folder, and return their paths.

    Args:
        laboratory: what was measured.
        folder: where they are written; made if it is not there, and files of the same names are
            replaced.
        found: the findings, where they are worked out already.

    Raises:
        StoreError: the folder cannot be written to.
    """
    found = find_all(laboratory) if found is None else found
    facts = json.dumps(_rounded(to_dict(laboratory, found)), ensure_ascii=False, allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for picture in (p for f in found for p in f.pictures):
            style.save(picture.draw(), folder / picture.file)
            written.append(folder / picture.file)
        for name, text in (
            ("findings.json", facts + "\n"),
            ("findings.md", to_markdown(laboratory, found)),
        ):
            (folder / name).write_text(text, encoding="utf-8")
            written.append(folder / name)
    except OSError as error:
        raise StoreError(
            f"cannot write to {folder}: {error.strerror or error}. Give another folder"
        ) from error
    return written


def _rounded(value: Any) -> Any:
    """Return JSON values with seven digits: all that sums in single precision have."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
