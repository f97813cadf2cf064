"""The palette is told apart by the colour-blind."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from rope_eval.report.figures import style

BLINDNESS = {  # G. M. Machado et al., IEEE TVCG 15 (2009), severity 1, on linear RGB
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(colour: str, blindness: str) -> np.ndarray:
    """Return a colour in CIELAB, as it is seen."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(BLINDNESS[blindness]) @ linear, 0, 1)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    x, y, z = np.cbrt(to_xyz @ seen / [0.95047, 1.0, 1.08883])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_any_two_colours_differ(blindness: str) -> None:
    pairs = itertools.combinations((*style.COLOURS, style.GREY), 2)
    distances = {
        pair: float(np.linalg.norm(lab(pair[0], blindness) - lab(pair[1], blindness)))
        for pair in pairs
    }
    nearest = min(distances, key=lambda pair: distances[pair])
    assert distances[nearest] > 10, (nearest, distances[nearest])


def test_lines_of_one_colour_have_other_dashes() -> None:
    from rope_eval.report.figures.drawn.grid import looks_of

    looks = {(look["color"], look["ls"]) for look in looks_of(18)}
    assert len(looks) == 18


@pytest.mark.parametrize(("low", "high"), [(3.0, 60.0), (7.9, 8.2), (2.72, 2.72), (4.1, 4.9)])
def test_a_narrow_range_of_perplexities_has_numbers_too(low: float, high: float) -> None:
    axes = style.new_figure(3).subplots()
    style.perplexity_axis(axes, low, high)
    numbers = list(axes.get_yticks())
    assert 2 <= len(numbers) <= 10
    assert all(low / 1.04 < number < high * 1.08 for number in numbers)
    assert all(len(f"{number:g}") <= 4 for number in numbers)
    if (low, high) == (3.0, 60.0):
        assert numbers == [3, 4, 5, 7, 10, 15, 20, 30, 40, 50]
