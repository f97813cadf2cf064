"""Measured max contexts stand where they were measured, beside the law."""

from __future__ import annotations

import pytest
from matplotlib.axes import Axes

from rope_eval.report.figures import style
from rope_eval.report.figures.contexts import (
    Law,
    MeasuredContext,
    draw_against_base,
    draw_against_bound,
)

ONE = MeasuredContext(base=1e5, bound=330, value=400, low=380, high=410)
SAME = MeasuredContext(base=1e4, bound=330, value=350, low=340, high=360, above=False)
BEYOND = MeasuredContext(base=1e6, bound=720, value=4096, low=4096, high=4096, beyond=True)


def points(axes: Axes) -> list[tuple[float, float]]:
    return [(bar[0].get_xdata()[0], bar[0].get_ydata()[0]) for bar in axes.containers]


def arrows(axes: Axes) -> list[tuple[float, float]]:
    return [text.xy for text in axes.texts if not text.get_text()]


def test_against_the_bound() -> None:
    names = {1e5: "1e5", 1e4: "1e4", 1e6: "1e6"}
    groups = {"tuned at 128": [ONE, SAME], "tuned at 512": [BEYOND]}
    (axes,) = draw_against_bound(groups, names, title="Theorem 2").axes
    # those of one bound stand beside each other
    assert points(axes) == [(330, 400), (330 * 1.05, 350), (720, 4096)]
    first, second, third = (bar[0] for bar in axes.containers)
    assert first.get_markerfacecolor() == style.BLUE == second.get_color()
    assert second.get_markerfacecolor() == "white" and third.get_color() == style.ORANGE
    low, high = axes.containers[0][2][0].get_segments()[0][:, 1]
    assert (low, high) == (380, 410)
    assert arrows(axes) == [(720, 4096 * 1.4)]
    assert [t.get_text() for t in axes.texts if t.get_text()] == ["1e5", "1e4", "1e6"]
    ends = (330 / 1.25, 4096 * 1.3)
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx(ends)
    assert axes.lines[0].get_xydata().tolist() == [[e, e] for e in axes.get_xlim()]
    labels = {t.get_text() for t in axes.get_legend().get_texts()}
    assert {"tuned at 128", "tuned at 512", "beyond what was measured"} <= labels
    (axes,) = draw_against_bound({"tuned at 128": [ONE]}, names).axes
    assert not any("beyond" in t.get_text() for t in axes.get_legend().get_texts())


def test_against_the_base() -> None:
    laws = [
        Law(
            title=f"tuned at {tune}",
            contexts=some,
            bases=[10, 1e4, 1e6],
            bounds=[tune, tune, 720],
            critical_base=critical,
            pivots=(81.5, 40.7, 20.4),
        )
        for tune, some, critical in ((128, [ONE, SAME], 1e4), (512, [BEYOND], 7e5))
    ]
    figure = draw_against_base(laws, shortest=100, longest=5000)
    left, right = figure.axes
    assert left.lines[0].get_xydata().tolist() == [[10, 128], [1e4, 128], [1e6, 720]]
    assert points(left) == [(1e5, 400), (1e4, 350)] and points(right) == [(1e6, 4096)]
    assert arrows(left) == [] and arrows(right) == [(1e6, 4096 * 1.4)]
    upright: dict[str, list[float]] = {":": [], "--": []}
    for line in left.lines:
        if list(line.get_ydata()) == [0, 1]:
            upright[line.get_linestyle()].append(line.get_xdata()[0])
    assert upright[":"] == [81.5, 40.7, 20.4] and upright["--"] == [1e4]
    assert left.get_ylim() == right.get_ylim() == (100, 5000)
    assert left.get_xscale() == left.get_yscale() == "log"
    assert (left.get_title(), right.get_title()) == ("tuned at 128", "tuned at 512")
