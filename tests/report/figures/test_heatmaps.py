"""Heat maps have a cell for each row and length, and the bounds of the rows."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import LogNorm

from rope_eval.report.figures import style
from rope_eval.report.figures.heatmaps import HeatMap, draw_depths, draw_heatmaps


def test_cells_colours_and_bounds() -> None:
    ppl, accuracy = np.array([[4.0, 5, 6], [4, 20, 40]]), np.array([[0.6, 0.5, 0.4]] * 2)
    figure = draw_heatmaps(
        [100, 400, 1600],
        ["20", "1e4"],
        [
            HeatMap(label="perplexity", values=ppl, perplexity=True),
            HeatMap(label="accuracy", values=accuracy),
        ],
        label="base",
        bounds=[128, 300],
        bold=["1e4"],
    )
    left, right = figure.axes[:2]
    mesh = left.collections[0]
    assert mesh.get_array().tolist() == ppl.tolist()
    # edges are halfway between the lengths, on the logarithmic scale
    edges = mesh.get_coordinates()[0, :, 0].tolist()
    assert edges == pytest.approx([100, 200, 800, 1600])
    assert isinstance(mesh.norm, LogNorm) and (mesh.norm.vmin, mesh.norm.vmax) == (4, 40)
    assert right.collections[0].get_array().tolist() == accuracy.tolist()
    assert right.collections[0].get_clim() == (0.4, 0.6)
    black = [line for line in left.lines if line.get_color() == style.BLACK]
    assert [line.get_xydata().tolist() for line in black] == [
        [[128, -0.5], [128, 0.5]],
        [[300, 0.5], [300, 1.5]],
    ]
    names = left.get_yticklabels()
    assert [(t.get_text(), t.get_fontweight()) for t in names] == [
        ("20", "normal"),
        ("1e4", "bold"),
    ]
    assert left.get_ylabel() == "base"


def test_needles_by_length_and_depth() -> None:
    accuracy = np.array([[1, 1, 1], [1, 0.5, 0]])  # [L, P]
    figure = draw_depths([128, 512], [0, 0.5, 1], accuracy, bound=256)
    axes = figure.axes[0]
    mesh = axes.collections[0]
    assert mesh.get_array().tolist() == accuracy.T.tolist() and mesh.get_clim() == (0, 1)
    assert [t.get_text() for t in axes.get_yticklabels()] == ["0%", "50%", "100%"]
    low, high = axes.get_ylim()
    assert low > high  # what stands first is above
    assert {x for line in axes.lines for x in line.get_xdata()} == {256}
    assert not draw_depths([128, 512], [0, 0.5, 1], accuracy).axes[0].lines
