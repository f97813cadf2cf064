"""Curves, bases, retrieval, attention and periods show the numbers that they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from rope_eval.report.figures import style
from rope_eval.report.figures.attention import Scores, draw_attention, plot_attention
from rope_eval.report.figures.bases import Fall, draw_by_base
from rope_eval.report.figures.curves import draw_curves, plot_curves
from rope_eval.report.figures.periods import draw_periods
from rope_eval.report.figures.retrieval import Reach, draw_reaches
from rope_eval.report.tables import attention_table

CURVES: dict[str, dict[str, Any]] = {
    "base-1e4": {"lengths": [64, 128, 256], "perplexity": [4, 3, 12], "extrapolation_bound": 128},
    "base-1e6": {"lengths": [64, 128, 256], "perplexity": [4, 3, 3], "extrapolation_bound": 720},
    "stock": {"lengths": [64, 128, 256], "perplexity": [5, 4, 9], "extrapolation_bound": None},
}


def test_curves_have_their_bound_in_their_colour() -> None:
    (axes,) = draw_curves(CURVES, "Fig. 1").axes
    first, bound, second, third, _ = axes.lines
    assert first.get_xydata().tolist() == [[64, 4], [128, 3], [256, 12]]
    assert list(bound.get_xdata()) == [128, 128] and bound.get_color() == first.get_color()
    assert [line.get_label() for line in (first, second, third)] == list(CURVES)
    assert len({line.get_color() for line in (first, second, third)}) == 3
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_title()) == ("log", "log", "Fig. 1")
    ticks = [t for t in axes.get_yticks() if axes.get_ylim()[0] < t < axes.get_ylim()[1]]
    assert ticks == [3, 4, 5, 7, 10]


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml")])
def test_the_suffix_says_the_format(tmp_path: Path, name: str, magic: bytes) -> None:
    plot_curves(CURVES, "", tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic)
    if name.endswith("png"):
        with Image.open(tmp_path / name) as image:
            size = image.size
        assert size == (round(style.WIDTH * style.DPI), round(5.1 * style.DPI))


def test_the_fall_with_the_base() -> None:
    fall = Fall(
        label="at 512",
        perplexity=[(4, 3.9, 4.2), (5, 4.8, 5.1), (9, 8, 10)],
        slopes=[(0.1, 0.05, 0.2), (0.4, 0.3, 0.5)],
    )
    figure = draw_by_base([20, 80, 320], ["20", "80", "320"], [fall], pivots=(81, 41, 20))
    above, below = figure.axes
    assert above.lines[0].get_xydata().tolist() == [[20, 4], [80, 5], [320, 9]]
    band = above.collections[0].get_paths()[0].vertices
    assert {(20, 3.9), (20, 4.2), (320, 8), (320, 10)} <= {tuple(v) for v in band}
    values, edges, _ = below.patches[0].get_data()
    assert values.tolist() == [0.1, 0.4] and edges.tolist() == [20, 80, 320]
    (middle, low), (_, high) = below.containers[1][2][0].get_segments()[0]
    assert (middle, low, high) == (160, 0.3, 0.5)
    for axes in figure.axes:
        dashed = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
        assert dashed == [81, 41, 20]
    assert [t.get_text() for t in below.get_xticklabels()] == ["20", "80", "320"]
    assert above.get_xscale() == "log" == above.get_yscale()
    assert [t.get_text() for t in above.texts] == ["$β_1$", "$β_2$", "$β_3$"]


def test_reaches() -> None:
    found = [
        Reach(name="base-20", feasible=100, retrieves=256, context=400),
        Reach(name="base-1e6", feasible=None, retrieves=0, context=720),
    ]
    (axes,) = draw_reaches(found, shortest=32, longest=4096).axes
    marks = {
        (line.get_marker(), line.get_ydata()[0]): line.get_xdata()[0]
        for line in axes.lines
        if len(line.get_xdata()) == 1
    }
    assert marks == {
        ("|", 0): 100,
        ("o", 0): 256,
        ("D", 0): 400,
        ("|", 1): 4096,
        ("x", 1): pytest.approx(32 / 1.3),
        ("D", 1): 720,
    }
    assert [t.get_text() for t in axes.get_yticklabels()] == ["base-20", "base-1e6"]
    assert axes.yaxis_inverted() and axes.get_xscale() == "log"


def test_attention_of_both_parts_a_panel_a_model() -> None:
    edges = np.array([0, 1, 2, 5, 17])
    one = Scores(
        title="base-1e4",
        edges=edges,
        means=np.array([[4.0, 3, 2, 1], [0, 1, 2, 3]]),
        tune_length=8,
        bound=12,
    )
    figure = draw_attention([one] * 4)
    assert [axes.get_visible() for axes in figure.axes] == [True] * 4 + [False] * 2
    before, beyond, tune, bound = figure.axes[0].lines
    assert before.get_ydata().tolist() == [4, 3, 2, 1] and before.get_color() == style.BLUE
    assert beyond.get_ydata().tolist() == [0, 1, 2, 3] and beyond.get_color() == style.RED
    assert before.get_xdata() == pytest.approx([0.5, 1, 8**0.5, 80**0.5])
    assert (tune.get_xdata()[0], tune.get_linestyle()) == (8, ":")
    assert (bound.get_xdata()[0], bound.get_linestyle()) == (12, "-")
    assert figure.axes[0].get_xscale() == "log" and figure.axes[0].get_xlim() == (0.7, 17)


def test_attention_of_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = {"mean": 1.5, "std": 0.25}
    facts = {
        "model": "m",
        "setting": "stock",
        "bins": [
            {"from": a, "to": b, "count": 9, "before": part, "beyond": {"mean": -2.0, "std": 0.5}}
            for a, b in ((0, 0), (1, 1), (2, 7))
        ],
        "train_length": 4,
        "extrapolation_bound": 99.0,
        "critical_dimension": 6,
        "rotary_dim": 16,
    }
    saved = []
    monkeypatch.setattr(style, "save", lambda figure, file: saved.append((figure, file)))
    plot_attention(facts, tmp_path / "a.png")
    ((figure, file),) = saved
    assert file == tmp_path / "a.png"
    above, below = figure.axes
    assert above.lines[0].get_ydata().tolist() == [1.5] * 3
    assert above.lines[0].get_xdata() == pytest.approx([0, 1, 14**0.5])
    assert below.get_xscale() == "symlog" and below.get_xlim() == (0, 8)  # so that 0 is shown
    assert [line.get_xdata()[0] for line in above.lines[1:]] == [4]  # the bound is not reached
    band = below.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (-2.5, -1.5)
    assert (above.get_title(), below.get_title()) == ("dimensions 1 … 6", "dimensions 7 … 16")
    lines = attention_table(facts).splitlines()
    assert "dims 7 … 16" in lines[0]
    assert lines[-1].split() == ["2", "…", "7", "9", "1.500", "0.250", "-2.000", "0.500"]


def test_periods_are_coloured_by_what_training_has_seen() -> None:
    periods = {"base 20": [6.0, 30, 100, 120], "base 1e6": [6.0, 200, 4000, 90_000]}
    figure = draw_periods(periods, train_length=128, critical_dimension=4)
    small, large = figure.axes
    bars = [(bar.get_x(), bar.get_width(), to_hex(bar.get_facecolor())) for bar in large.patches]
    blue, sky, red = (to_hex(c) for c in (style.BLUE, style.SKY, style.RED))
    assert bars[-4:] == [(1, 5, blue), (1, 199, sky), (1, 3999, red), (1, 89_999, red)]
    assert {to_hex(bar.get_facecolor()) for bar in small.patches[-4:]} == {blue}
    assert [bar.get_y() + bar.get_height() / 2 for bar in large.patches[-4:]] == [1, 3, 5, 7]
    assert list(large.lines[0].get_ydata()) == [4, 4]
    assert small.get_ylim() == (8, 0) and small.get_title() == "base 20"


def test_scales_have_round_numbers() -> None:
    axes = style.new_figure(3).subplots()
    style.length_axis(axes, 100, 5000, "tokens")
    assert list(axes.get_xticks()) == [128, 256, 512, 1024, 2048, 4096]
    style.length_axis(axes, 2, 5000, "tokens", y=True)
    assert list(axes.get_yticks()) == [4, 16, 64, 256, 1024, 4096]
    style.perplexity_axis(axes, 3.5, 300)
    assert list(axes.get_yticks()) == [10, 30, 100, 300]
    style.base_axis(axes, [10, 1e6])
    low, high = axes.get_xlim()
    assert low == pytest.approx(10 ** (1 - 0.22)) and high == pytest.approx(10 ** (6 + 0.22))
