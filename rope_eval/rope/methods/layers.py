"""Not a method but where the methods are applied: to which layers of a model."""

from __future__ import annotations

from typing import Literal

from rope_eval.rope.method import Method
from rope_eval.rope.values import Field, choice

METHOD = Method(
    name="the layers",
    says="which layers take the setting: alone it changes nothing",
    source="arXiv 2503.19786, whose models change the base of their global layers alone",
    fields=(
        Field(
            name="layers",
            default="full",
            type=Literal["full", "all"],
            parse=choice("full", "all"),
            says=(
                'the layers that take the setting: "full", those that attend to everything before '
                "(where none of them rotates, as in a model of windows alone, all that do), or "
                '"all" that rotate. The others stay as the checkpoint says'
            ),
            live=("rope_theta=500", "rope_theta=500,layers=all"),
        ),
    ),
    place=1001,
)
