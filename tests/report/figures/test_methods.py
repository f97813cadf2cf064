"""The figure of docs/methods.md shows the frequencies and maps that the settings have."""

from __future__ import annotations

import math

import pytest

from rope_eval.report.figures.methods import FACTOR, FREQUENCIES, MAPS, TRAIN, draw_methods


def test_it_shows_what_the_settings_do() -> None:
    whole, longer, distances = draw_methods().axes
    lines = {line.get_label(): line.get_xydata() for line in longer.lines}
    assert set(FREQUENCIES) <= set(lines)
    assert set(lines["as trained"][:, 1]) == {1}
    assert lines["position interpolation"][:, 1] == pytest.approx([FACTOR] * 64)
    assert lines["YaRN"][[0, 20, 46, 63], 1] == pytest.approx([1, 1, 8, 8])
    assert lines["fixed NTK"][-1, 1] == pytest.approx(FACTOR)
    assert len(lines["HardClip"]) == 44  # twenty of 64 pairs stand still
    first = whole.lines[0].get_xydata()
    assert first[[0, 32, 63], 1] == pytest.approx(
        [2 * math.pi, 200 * math.pi, 2 * math.pi * 1e4 ** (63 / 64)]
    )
    grey = next(line for line in whole.lines if list(line.get_ydata()) == [0, 1])
    assert grey.get_xdata()[0] == 45.5  # pair 45 turns in 4080 tokens, pair 46 in 4712
    seen = {line.get_label(): dict(line.get_xydata()) for line in distances.lines}
    assert set(MAPS) <= set(seen)
    assert [seen["ReRoPE"][d] for d in (512, 1024, 2**14)] == [512, 1024, 1024]
    assert seen["Leaky ReRoPE"][2**14] == 1024 + (2**14 - 1024) / 16
    assert seen["STRING"][2**14] == 2**14 - 1352 + 128
    assert max(seen["Dual Chunk Attention"].values()) <= 3072
    assert seen["as trained"][2 * TRAIN] == 2 * TRAIN
