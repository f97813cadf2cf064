"""What is drawn is the data: lines, cells, points, labels; and the file is fit for a paper."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.figure_store import LENGTHS, perplexity, put_attention, put_books, put_task
from rope_eval.report.figures import style
from rope_eval.report.figures.drawn import draw
from rope_eval.report.series import FigureData, figure_data
from rope_eval.report.series.periods import Asked, periods
from rope_eval.results.store import Store
from rope_eval.rope.spec import RopeSpec

JUMP = ((0, 1.0), (256, 3.0))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "runs")


def legend(figure: object) -> list[str]:
    (one,) = figure.legends  # type: ignore[attr-defined]
    return [text.get_text() for text in one.get_texts()]


def test_curves_with_bound_and_training_length(store: Store) -> None:
    put_books(store, "me/$one$", losses=JUMP, bound=300.0, started="1")
    put_books(store, "me/two", bound=None, started="2")
    figure = draw(figure_data("curves", store))
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    curves = [line for line in axes.lines if len(line.get_xdata()) == len(LENGTHS)]
    assert curves[0].get_xdata().tolist() == list(LENGTHS)
    assert curves[0].get_ydata() == pytest.approx([perplexity(JUMP, n) for n in LENGTHS])
    assert curves[0].get_marker() != curves[1].get_marker()
    upright = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert [(line.get_xdata()[0], line.get_linestyle()) for line in upright] == [
        (300.0, ":"),
        (128, "--"),
    ]
    (ring, *_) = (line for line in axes.lines if len(line.get_xdata()) == 1)
    assert ring.get_xydata().tolist() == [[128, pytest.approx(perplexity(JUMP, 128))]]
    assert ring.get_color() == curves[0].get_color() and ring.get_markerfacecolor() == "none"
    assert upright[0].get_color() == curves[0].get_color() != curves[1].get_color()
    assert legend(figure) == [
        r"me/\$one\$",
        "me/two",
        "predicted bound $T_{extra}$",
        "training length",
    ]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("tokens seen", "cumulative perplexity")
    assert lines


def test_accuracy_has_a_panel_a_task_from_0_to_1(store: Store) -> None:
    for task in ("retrieval", "niah_single_1", "niah_single_2", "niah_multikey_1"):
        metric = "accuracy@{},none" if task == "retrieval" else "{},none"
        put_task(store, "me/one", task, metrics={metric.format(n): n / 256 for n in (64, 128)})
    figure = draw(figure_data("curves", store, metric="accuracy"))
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert {axes.get_title() for axes in shown} == {
        "retrieval",
        "niah_single_1",
        "niah_single_2",
        "niah_multikey_1",
    }
    assert all(axes.lines[0].get_ydata().tolist() == [0.25, 0.5] for axes in shown)
    assert shown[0].get_ylim() == (-0.03, 1.03)


def test_a_band_is_from_low_to_high(store: Store) -> None:
    put_books(store, losses=JUMP)
    data = figure_data("curves", store, metric="local-loss", lengths=[128, 512])
    data.frame["low"], data.frame["high"] = [0.5, 2.5], [1.5, 3.5]
    (axes,) = draw(data).axes
    (band,) = axes.collections
    corners = {tuple(v) for v in band.get_paths()[0].vertices}
    assert {(128, 0.5), (128, 1.5), (512, 2.5), (512, 3.5)} <= corners


def test_a_map_of_bases_with_a_hole(store: Store) -> None:
    put_books(store, rope_theta=500.0, bound=100.0)
    put_books(store, rope_theta=1e6, bound=400.0, losses=JUMP, lengths=LENGTHS[:4])
    figure = draw(figure_data("bases", store))
    axes, bar = figure.axes
    (mesh,) = axes.collections
    cells = np.ma.filled(mesh.get_array(), np.nan).reshape(2, 5)
    assert cells[0] == pytest.approx([np.e] * 5)
    assert cells[1, :4] == pytest.approx([perplexity(JUMP, n) for n in LENGTHS[:4]])
    assert np.isnan(cells[1, 4]) and axes.patch.get_hatch()
    assert [t.get_text() for t in axes.get_yticklabels()] == ["500", "1e6"]
    black = [line for line in axes.lines if line.get_color() == style.BLACK]
    assert [line.get_xdata()[0] for line in black] == [100, 400]
    assert bar.get_xlabel() == "cumulative perplexity" and axes.get_ylabel() == "base β"


def test_a_map_of_depths_begins_above(store: Store) -> None:
    metrics = {f"accuracy_depth_{d}@{n},none": d for d in (0, 0.5, 1) for n in (64, 128, 256)}
    put_task(store, metrics=metrics, metadata={"depths": [0, 0.5, 1]})
    figure = draw(figure_data("retrieval", store))
    axes, bar = figure.axes
    (mesh,) = axes.collections
    assert mesh.get_array().reshape(3, 3).tolist() == [[0] * 3, [0.5] * 3, [1] * 3]
    assert (mesh.norm.vmin, mesh.norm.vmax) == (0, 1) and axes.yaxis_inverted()
    assert [t.get_text() for t in axes.get_yticklabels()] == ["0%", "50%", "100%"]
    assert bar.get_xlabel() == "retrieval accuracy"


def test_contexts_against_the_bound(store: Store) -> None:
    put_books(store, "me/holds", bound=300.0)
    put_books(store, "me/breaks", losses=((0, 1.0), (256, 2.0)), bound=100.0)
    figure = draw(figure_data("contexts", store))
    (axes,) = figure.axes
    points = {c.lines[0].get_xdata()[0]: c.lines[0] for c in axes.containers}
    assert points[300.0].get_ydata()[0] == 1024
    assert points[300.0].get_markerfacecolor() == points[300.0].get_color()
    assert points[100.0].get_markerfacecolor() == "white"
    texts = {text.get_text() for text in axes.texts}
    assert {"me/holds", "me/breaks"} <= texts
    assert legend(figure) == [
        "trained at 128",
        "measured = predicted",
        "predicted: no more than trained at",
        "or more",
    ]


def test_attention_of_both_parts(store: Store) -> None:
    put_attention(store, length=512)
    (axes,) = draw(figure_data("attention", store)).axes
    before, beyond = (line for line in axes.lines if len(line.get_xdata()) == 3)
    assert before.get_ydata().tolist() == [1, 2, 5] and beyond.get_ydata().tolist() == [-2] * 3
    upright = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert [line.get_xdata()[0] for line in upright] == [128, 300]
    band = axes.collections[1].get_paths()[0].vertices
    assert {v[1] for v in band} == {-2.5, -1.5}


def test_periods_as_bars(tmp_path: Path) -> None:
    import json

    config = {"head_dim": 16, "rope_theta": 1e4, "max_position_embeddings": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    data = periods({"m": Asked(model=tmp_path, rope=RopeSpec())})
    figure = draw(data)
    (axes,) = figure.axes
    assert [bar.get_width() + 1 for bar in axes.containers[0]] == pytest.approx(
        data.frame["period"].tolist()
    )
    assert axes.get_ylim() == (16, 0)
    data.frame.loc[7, "period"] = np.inf  # of a pair that stands still
    (axes,) = draw(data).axes
    assert axes.containers[0][7].get_width() + 1 == pytest.approx(axes.get_xlim()[1])


@pytest.fixture
def data() -> FigureData:
    from rope_eval.report.series.data import Axis

    frame = pd.DataFrame(
        {
            "panel": "books",
            "series": ["one", "one", "two", "two"],
            "length": [64, 1024] * 2,
            "value": [3.0, 4.0, 5.0, 60.0],
            "low": None,
            "high": None,
            "bound": 300.0,
            "train_length": 128,
        }
    )
    return FigureData(
        kind="curves",
        mark="lines",
        title="t",
        frame=frame,
        x=Axis(column="length", label="tokens seen", scale="length"),
        y=Axis(column="value", label="perplexity", scale="perplexity"),
        series="series",
    )


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_bytes_depend_on_the_figure_alone(
    data: FigureData, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for file, when in zip(files, ("1", "999999999"), strict=True):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", when)
        style.save(draw(data), file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_texts_of_an_svg_are_texts(data: FigureData, tmp_path: Path) -> None:
    style.save(draw(data), tmp_path / "a.svg")
    texts = re.findall(r">([^<>]+)</text>", (tmp_path / "a.svg").read_text())
    assert {"one", "two", "tokens seen", "perplexity", "books", "128"} <= set(texts)
    style.save(draw(data), tmp_path / "a.pdf")
    assert b"/FontFile2" in (tmp_path / "a.pdf").read_bytes()  # TrueType: text that is found


@pytest.mark.parametrize("width", [3.3, 6.5, 13.0])
def test_texts_keep_their_size_at_any_width(data: FigureData, tmp_path: Path, width: float) -> None:
    figure = draw(data, width=width)
    style.save(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] == round(width * style.DPI)
    (axes,) = figure.axes
    assert axes.xaxis.label.get_fontsize() == 10
    box = axes.get_window_extent()
    assert box.height / figure.dpi > 1.2 and box.width / figure.dpi > 0.6 * width
    assert not figure.legends[0].get_window_extent().overlaps(box)
