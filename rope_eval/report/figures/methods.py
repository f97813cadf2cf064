"""What the methods of docs/methods.md do: periods against pairs, seen distances against true ones.

::

    python -m rope_eval.report.figures.methods docs/methods.png
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rope_eval.report.figures import style
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.shapes import periods, seen_distances
from rope_eval.rope.spec import RopeSpec

TRAIN, FACTOR = 4096, 8
AS_TRAINED = "as trained"
GEOMETRY = RotaryGeometry(head_dim=128, rotary_dim=128, rope_theta=1e4, train_length=TRAIN)
"""LLaMA2's, as an example."""

FREQUENCIES: Mapping[str, str] = {
    AS_TRAINED: "",
    "position interpolation": f"linear_factor={FACTOR}",
    "fixed NTK": f"ntk_alpha={FACTOR}",
    "dynamic NTK": "dynamic_ntk=per_sequence,reference_length=train",
    "NTK-by-parts": f"ntk_parts_factor={FACTOR}",
    "YaRN": f"yarn_factor={FACTOR}",
    "llama3": f"llama3_factor={FACTOR}",
    "CoPE": "cope=20",
    "HardClip": "hard_clip=20",
}
"""Settings of frequencies by their names."""

MAPS: Mapping[str, str] = {
    "ReRoPE": "rerope_window=1024",
    "Leaky ReRoPE": "leaky_rerope_window=1024,leaky_rerope_factor=16",
    "Self-Extend": "self_extend_window=1024,self_extend_group=8",
    "Dual Chunk Attention": "dual_chunk_size=2560",
    "STRING": "string_shift=1352,string_window=128",
}
"""Settings of positions by their names, at their authors' sizes."""


def draw_methods() -> Figure:
    """Draw the periods, those over the periods as trained, and the seen distances."""
    figure = style.new_figure(7.6)
    grid = figure.add_gridspec(2, 2)
    whole, longer = (figure.add_subplot(grid[0, column]) for column in (0, 1))
    _draw_periods(whole, longer)
    _draw_distances(figure.add_subplot(grid[1, :]))
    return figure


def _draw_periods(whole: Axes, longer: Axes) -> None:
    turns = {
        name: periods(RopeSpec.parse(setting), GEOMETRY, length=FACTOR * TRAIN)
        for name, setting in FREQUENCIES.items()
    }
    plain = turns[AS_TRAINED]
    for look, (name, some) in zip(_looks(len(turns)), turns.items(), strict=True):
        turning = [n for n, turn in enumerate(some) if math.isfinite(turn)]
        whole.plot(turning, [some[n] for n in turning], **look)
        longer.plot(turning, [some[n] / plain[n] for n in turning], **look, label=name)
        if turning[-1] < len(some) - 1:  # the others stand still
            longer.plot(turning[-1], some[turning[-1]] / plain[turning[-1]], "x", **look, ms=7)
    whole.axhline(TRAIN, color=style.GREY, ls=":", lw=1.2)
    style.length_axis(whole, 4, 2**19.6, "tokens (dotted: $T_{train}$)", y=True)
    style.length_axis(longer, 0.9, 150, "times", y=True)
    unseen = next(n for n, turn in enumerate(plain) if turn > TRAIN)
    for axes, title in ((whole, "period of each pair"), (longer, "period over that as trained")):
        axes.axvline(unseen - 0.5, color=style.GREY, lw=1)
        axes.set_xlabel("pair (right of the grey line: no full turn in $T_{train}$)")
        axes.set_title(title)
        style.grid_lines(axes)
    longer.legend(
        title="×: later pairs stand still",
        fontsize="small",
        title_fontsize="small",
        ncols=2,
        frameon=False,
        loc="upper left",
    )


def _draw_distances(axes: Axes) -> None:
    longest = FACTOR * TRAIN
    distances = sorted({round(2 ** (k / 64)) for k in range(64 * int(math.log2(longest)))})
    axes.plot(distances, distances, color=style.BLACK, lw=2.2, label=AS_TRAINED)
    for look, (name, setting) in zip(_looks(len(MAPS) + 1)[1:], MAPS.items(), strict=True):
        seen = seen_distances(
            RopeSpec.parse(setting), GEOMETRY, query=longest - 1, distances=distances
        )
        axes.plot(distances, seen, label=name, **look)
    axes.axhline(TRAIN, color=style.GREY, ls=":", lw=1.2)
    style.length_axis(axes, 256, longest, "distance of a key from a query at 8 $T_{train}$, tokens")
    style.length_axis(axes, 128, longest, "seen at, tokens (dotted: $T_{train}$)", y=True)
    axes.set_title("distance that the query sees")
    axes.legend(fontsize="small", frameon=False, loc="upper left")
    style.grid_lines(axes)


def _looks(count: int) -> list[dict[str, Any]]:
    """Return the look of the model as trained, then those of methods."""
    found = [
        {"color": style.COLOURS[n % 6], "lw": 1.6, "ls": "-" if n < 6 else (0, (3, 1.5))}
        for n in range(count - 1)
    ]
    return [{"color": style.BLACK, "lw": 2.2}, *found]


if __name__ == "__main__":
    (file,) = sys.argv[1:] or ("docs/methods.png",)
    style.save(draw_methods(), Path(file))
