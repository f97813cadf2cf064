"""The figures of the page: what is measured is what is drawn, and what others wrote is text."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from helpers import figure_store, page_store
from rope_eval.report.page.axes import plain
from rope_eval.report.page.drawing import COLOURS
from rope_eval.report.page.figures import figures
from rope_eval.report.page.html import html_of
from rope_eval.report.page.model import Figure, Page, Section
from rope_eval.report.series.source import Source
from rope_eval.results.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "runs")


def made(store: Store) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures(Source(store))}


def named(figure: Figure, panel: int = 0) -> dict[str, dict[str, Any]]:
    """Return the traces that a legend has, by their names."""
    traces = figure.panels[panel].traces
    return {trace["meta"]["legend"]: trace for trace in traces if "meta" in trace}


def test_an_empty_store_has_no_figures(store: Store) -> None:
    assert made(store) == {}


def test_curves_with_bounds_and_training_length(store: Store) -> None:
    early = [(0, 1.0), (256, 4.0)]
    figure_store.put_books(store, losses=early, bound=128.0)
    figure_store.put_books(store, bound=700.0, rope_theta=5e5, started="2026-01-02")
    figure = made(store)["figure-curves-perplexity"]
    traces = named(figure)
    assert list(traces) == ["me/model", "me/model, rope_theta=500000"]
    first = traces["me/model"]
    assert first["x"] == list(figure_store.LENGTHS)
    assert first["y"] == pytest.approx(
        [figure_store.perplexity(early, length) for length in figure_store.LENGTHS]
    )
    assert first["line"]["color"] == COLOURS[0] and first["line"]["dash"] == "solid"
    layout = figure.panels[0].layout
    assert [shape["x0"] for shape in layout["shapes"]] == [128.0, 700.0]
    assert [one["text"] for one in layout["annotations"]] == ["bound, trained 128", "bound 700"]
    assert layout["annotations"][1]["x"] == pytest.approx(math.log10(700))
    assert layout["xaxis"]["type"] == layout["yaxis"]["type"] == "log"
    assert layout["xaxis"]["ticktext"] == ["64", "128", "256", "512", "1024"]
    header, *rows = figure.data
    assert {"row", "length", "value", "bound"} <= set(header) and len(rows) == 10


def test_bands_go_there_and_back_in_the_group_of_their_line(store: Store) -> None:
    figure_store.put_books(store)
    figure = made(store)["figure-curves-local-loss"]
    band, line = figure.panels[0].traces
    assert band["fill"] == "toself" and band["legendgroup"] == line["legendgroup"]
    assert band["x"] == line["x"] + line["x"][::-1]
    assert band["y"] == pytest.approx([1.0] * len(band["x"]))


def test_a_curve_that_explodes_keeps_the_axis(store: Store) -> None:
    figure_store.put_books(store, losses=[(0, 1.0), (128, 600.0)])
    layout = made(store)["figure-curves-perplexity"].panels[0].layout
    low, high = layout["yaxis"]["range"]
    assert high - low < 6 and len(layout["yaxis"]["tickvals"]) < 20


def test_a_map_of_bases_has_the_bounds_in_it(store: Store) -> None:
    for theta, bound in ((500.0, 128.0), (1e6, 724.0)):
        figure_store.put_books(store, bound=bound, rope_theta=theta)
    (panel,) = made(store)["figure-bases-perplexity"].panels
    heat, marks = panel.traces
    assert panel.title == "nothing else set"
    assert panel.layout["yaxis"]["ticktext"] == ["500", "1e6"]
    assert panel.layout["xaxis"]["ticktext"] == ["64", "128", "256", "512", "1K"]
    assert heat["z"] == [pytest.approx([math.log10(math.e)] * 5)] * 2
    assert marks["x"][0] == 1.0 and marks["x"][3] == pytest.approx(3.5, abs=0.01)
    assert marks["y"] == [-0.5, 0.5, None, 0.5, 1.5, None]


def test_retrieval_by_depth_and_length(store: Store) -> None:
    metrics = {f"accuracy_depth_{d}@{n}": d * n / 1e3 for d in (0.0, 0.5) for n in (256, 512)}
    figure_store.put_task(store, metrics=metrics)
    (panel,) = made(store)["figure-retrieval"].panels
    assert panel.traces[0]["z"] == [[0.0, 0.0], [0.128, 0.256]]
    assert (panel.traces[0]["zmin"], panel.traces[0]["zmax"]) == (0, 1)
    assert panel.traces[0]["text"] == [["0.00", "0.00"], ["0.13", "0.26"]]


def test_contexts_against_the_diagonal(store: Store) -> None:
    figure_store.put_books(store, losses=[(0, 1.0), (300, 3.0)], bound=300.0)
    figure_store.put_books(store, bound=600.0, rope_theta=5e5)
    (panel,) = made(store)["figure-contexts"].panels
    diagonal, points = panel.traces
    assert diagonal["x"] == diagonal["y"]
    assert points["x"] == [300.0, 600.0] and points["y"][1] == 1024
    assert 300 / 2**0.25 * 0.9 < points["y"][0] <= 300
    assert points["marker"]["symbol"] == ["circle", "triangle-up"]


def test_attention_has_two_lines_and_a_menu_of_rows(store: Store) -> None:
    figure_store.put_attention(store)
    figure_store.put_attention(store, rope_theta=500.0)
    figure = made(store)["figure-attention"]
    assert len(figure.panels) == 2
    before, beyond = named(figure).values()
    assert before["y"] == [1.0, 2.0, 5.0] and beyond["y"] == [-2.0] * 3
    assert "shapes" in figure.panels[0].layout and not figure.panels[0].layout["shapes"]
    html = html_of(page_of(figure))
    assert '<select data-panels="figure-attention">' in html


def page_of(*parts: Figure) -> Page:
    section = Section(name="s", title="s", parts=parts)
    return Page(title="t", facts=(), verdict="v", state="", sections=(section,))


def test_what_others_wrote_is_text_to_plotly_too(store: Store) -> None:
    figure_store.put_books(store, model=f"a{page_store.NASTY}")
    figure_store.put_books(store, model="<a href='javascript:alert(1)'>x</a>&lt;")
    for figure in made(store).values():
        for panel in figure.panels:
            traces = [{k: v for k, v in trace.items() if k != "meta"} for trace in panel.traces]
            text = json.dumps([traces, panel.layout])
            for ours in ("<b>", "</b>", "<br>"):
                text = text.replace(ours, "")
            assert "<" not in text, text[:200]
    assert plain("<b>&lt;\u202e") == "&lt;b&gt;&amp;lt;\\u202e"


def test_the_page_is_small_enough(store: Store) -> None:
    pytest.importorskip("plotly", reason="the extra report is not installed")
    figure_store.put_books(store)
    html = html_of(page_of(*made(store).values()))
    assert 1e6 < len(html.encode()) < 5e6
    assert "://" not in html  # plotly's addresses are packed with it, and the policy bars them
