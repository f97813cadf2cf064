"""Panels of scores against length show the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from rope_eval.report.figures import style
from rope_eval.report.figures.panels import Line, Panel, Scale, draw_panels

LENGTHS = [64, 128, 256]


def line(name: str, *values: float, **fields: object) -> Line:
    return Line(label=name, lengths=LENGTHS, values=values, **fields)


def test_lines_training_length_and_bound_are_drawn() -> None:
    panel = Panel(
        title="base 1e5",
        lines=[line("as trained", 4, 3, 30), line("ntk", 4, 3, 5, look={"color": "#123456"})],
        train_length=128,
        bound=200,
    )
    figure = draw_panels([[panel]], [Scale(label="perplexity", perplexity=True)], label="tokens")
    (axes,) = figure.axes
    first, second, train, bound = axes.lines
    assert first.get_xydata().tolist() == [[64, 4], [128, 3], [256, 30]]
    assert second.get_ydata().tolist() == [4, 3, 5]
    assert (first.get_color(), second.get_color()) == (style.COLOURS[0], "#123456")
    assert list(train.get_xdata()) == [128, 128] and train.get_linestyle() == ":"
    assert list(bound.get_xdata()) == [200, 200] and bound.get_linestyle() == "-"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlim() == (64, 256) and axes.get_title() == "base 1e5"
    low, high = axes.get_ylim()
    assert low == pytest.approx(3 / 1.04) and high == pytest.approx(30 * 1.08)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["as trained", "ntk"]
    assert figure.get_supylabel() == "perplexity" and figure.get_supxlabel() == "tokens"


def test_rows_share_one_scale_or_have_their_own() -> None:
    rows = [[Panel(lines=[line("a", 2, 3, 4)])], [Panel(lines=[line("a", 20, 30, 40)])]]
    scale = Scale(label="perplexity", perplexity=True)
    shared = draw_panels(rows, [scale], label="tokens").axes
    assert shared[0].get_ylim() == shared[1].get_ylim()
    assert shared[0].get_ylim() == pytest.approx((2 / 1.04, 40 * 1.08))
    own = draw_panels(rows, [scale, scale], label="tokens").axes
    assert own[0].get_ylim()[1] == pytest.approx(4 * 1.08)
    assert own[1].get_ylim()[0] == pytest.approx(20 / 1.04)


def test_two_scores_stand_above_each_other_with_a_legend_a_column() -> None:
    top = [Panel(lines=[line("20", 1, 0.5, 0, band=[(0.9, 1), (0.4, 0.6), (0, 0.1)])])] * 2
    bottom = [Panel(lines=[line("20", 0, 1, 2)])]
    figure = draw_panels(
        [top, bottom],
        [Scale(label="accuracy", limits=(0, 1), level=0.5), Scale(label="nats")],
        label="tokens",
        first=128,
        legend="columns",
        legend_title="base",
    )
    above, beside, below, hidden = figure.axes
    band = above.collections[0].get_paths()[0].vertices
    assert {(256, 0), (256, 0.1), (64, 0.9)} <= {tuple(np.round(v, 6)) for v in band}
    assert list(above.lines[-1].get_ydata()) == [0.5, 0.5] and above.get_ylim() == (0, 1)
    assert (above.get_ylabel(), below.get_ylabel()) == ("accuracy", "nats")
    assert below.get_xlim() == (128, 256) and below.get_yscale() == "linear"
    assert below.get_legend().get_title().get_text() == "base"
    assert beside.get_legend() is not None and above.get_legend() is None
    assert beside.get_xlabel() == below.get_xlabel() == "tokens" and above.get_xlabel() == ""
    assert not hidden.get_visible() and not figure.legends
