"""The page of a store: its sections in the order in which they are asked for."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import rope_eval
from rope_eval.report.page import record
from rope_eval.report.page.figures import figures
from rope_eval.report.page.findings import Findings
from rope_eval.report.page.model import Page, Part, Section, State, csv_text
from rope_eval.report.page.samples import samples
from rope_eval.report.page.scores import score_tables
from rope_eval.results.tidy import COLUMNS


def page_of(found: Findings, *, made: datetime | None = None) -> Page:
    """Return the page.

    Args:
        found: of `find`.
        made: when; by default now.
    """
    verdict, state = _verdict(found)
    sections = [
        Section(name="failures", title="What failed", parts=tuple(record.failures(found))),
        Section(name="scores", title="Scores", parts=tuple(score_tables(found))),
        Section(name="figures", title="Figures", parts=tuple(figures(found.source))),
        Section(name="samples", title="What models wrote", parts=tuple(samples(found))),
        Section(name="runs", title="What was run and proven", parts=_run_parts(found)),
        Section(name="provenance", title="Provenance", parts=(record.provenance_table(found),)),
    ]
    when = made or datetime.now(UTC)
    return Page(
        title=str(found.plan.file) if found.plan else str(found.source.store.root),
        facts=(
            ("made", when.strftime("%Y-%m-%d %H:%M UTC")),
            ("rope-eval", rope_eval.__version__),
            ("results", str(found.source.store.root)),
        ),
        verdict=verdict,
        state=state,
        sections=tuple(section for section in sections if section.parts),
        downloads={"numbers": csv_text(_numbers(found))},
    )


def _run_parts(found: Findings) -> tuple[Part, ...]:
    plan = (record.plan_table(found),) if found.plan else ()
    return (*plan, record.run_table(found))


def _numbers(found: Findings) -> tuple[tuple[object, ...], ...]:
    rows = (tuple(line[name] for name in COLUMNS) for line in found.lines)
    return (tuple(COLUMNS), *rows)


def _verdict(found: Findings) -> tuple[str, State]:
    """Return how it went, and whether that is good: what is missing is said first."""
    proven = sum(record.is_proven(run) for run in found.runs)
    failed = sum(run.status == "failed" or bool(run.results.get("failed")) for run in found.runs)
    parts = [f"{len(found.runs)} runs, {proven} of them proven"]
    if failed or not found.plan:
        parts.append(f"{failed} failed wholly or in part" if failed else "none failed")
    bad = failed > 0
    if found.plan:
        states = Counter(one.state for one in found.standings)
        cells = ", ".join(f"{count} {state}" for state, count in states.items())
        parts.insert(0, f"{len(found.standings)} cells of the plan: {cells}")
        bad = bad or any(states[state] for state in ("failed", "partly failed", "cannot"))
    if found.left_out:
        parts.append(f"{len(found.left_out)} files of the store left out")
    open_ = any(not one.is_over for one in found.standings)
    state: State = "bad" if bad else "warn" if open_ or found.left_out else "good"
    return "; ".join(parts) + ".", state
