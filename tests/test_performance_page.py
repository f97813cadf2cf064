"""docs/performance.md says what results/benchmarks holds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())
SHAPES = (
    "4096 tokens, 1 rows, 8",
    "16384 tokens, 1 rows, 8",
    "4096 tokens, 4 rows, 8",
    "4096 tokens, 1 rows, 2",
)


def measured(name: str) -> Any:
    return json.loads((ROOT / "results" / "benchmarks" / f"{name}-cpu.json").read_bytes())


def table(title: str) -> dict[str, list[str]]:
    """Return the cells of the rows below the row that begins so."""
    rows = PAGE.split(f"| {title} |")[1].split("\n\n")[0].splitlines()[1:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {name: some for name, *some in cells if not name.startswith("---")}


def said(figures: Any, group: str, setting: str, what: str = "cpu_ratio") -> str:
    found = figures.get(group, {}).get("settings", {}).get(setting, {}).get(what)
    return "–" if found is None else f"{found:.2f}"


def test_generation() -> None:
    figures, rows = measured("generation"), table("freed memory kept")
    groups = [f"{shape} key heads, freed memory kept" for shape in SHAPES]
    assert set(figures) == set(groups)
    assert {name for group in groups for name in figures[group]["settings"]} == set(rows)
    for name, cells in rows.items():
        expected = [said(figures, group, name) for group in groups]
        memory = said(figures, groups[0], name, "memory_ratio")
        assert cells == [*expected, memory], name


def test_the_limit() -> None:
    rows = [
        [f"{row['tokens'] // 1024}K", str(row["threads"]), str(row["hidden"])]
        + [f"{share:.2f}" for share in row["share"].values()]
        for row in measured("limit")
    ]
    cells = PAGE.split("| tokens | threads | hidden size |")[1].split("\n\n")[0].splitlines()[2:]
    assert [[cell.strip() for cell in row.strip("|").split("|")] for row in cells] == rows
    assert list(measured("limit")[0]["share"]) == [
        "transformers",
        "rope-eval",
        "rope-eval, every knob",
    ]


def test_memory_and_short_tasks() -> None:
    memory = measured("memory")["memory"]
    neutral, knobs, disk = (
        f"{memory[f'rope-eval{how}']['peak_mib'] / memory['lm-eval hf']['peak_mib']:.3f}"
        for how in (
            "",
            ", every knob",
            ", every knob, hidden states on disk, chunks of 256",
        )
    )
    assert f"holds {neutral} of lm-eval's `hf` (neutral) and {knobs} with every knob" in WORDS
    runs = memory["rope-eval, every knob"]["runs_mib"]
    assert f"({min(runs) / memory['lm-eval hf']['peak_mib']:.3f} in another run)" in WORDS
    assert f"{disk} with hidden states on disk and chunks of 256" in WORDS
    long = " ".join((ROOT / "docs" / "long-documents.md").read_text(encoding="utf-8").split())
    for method, row in memory.items():
        if method != "lm-eval hf":
            assert f"{row['peak_mib']} | " in long and f"| {row['planned_mib']} |" in long, method
    for kind, row in measured("shared-prompts").items():
        apart = f"{row['worst_difference_nats_a_token']:.1e}"
        assert f"| {kind} | {row['cpu_ratio']:.2f} | {apart} |" in PAGE


def test_processes() -> None:
    figures = measured("processes")
    for size in ("2", "4"):
        whole, most = [], []
        for setting in ("stock", "every knob"):
            one = figures[setting]["1"][0]["cpu_s"]
            spent = [rank["cpu_s"] / one for rank in figures[setting][size]]
            whole.append(sum(spent))
            most.append(max(spent))
        assert f"{min(whole):.2f} to {max(whole):.2f} of one's CPU time" in WORDS or (
            f"{min(whole):.2f} to {max(whole):.2f} where they are {size}" in WORDS
        )
        assert re.search(rf"at most .*\b{max(most):.2f}\b.* of it", WORDS)
        received = figures["stock"][size][0]["received_mb"]
        assert f"{received:.1f} MB" in WORDS
        assert received == figures["stock"][size][0]["formula_mb"]
