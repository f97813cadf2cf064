"""The lab's retrieval probes: the form its models are trained on, in text that they are not."""

from __future__ import annotations

import functools
from pathlib import Path

from rope_eval.data.probes import Form
from studies.scaling_laws.recipes.retrieval_text import (
    KEYS,
    VALUE_LENGTH,
    VALUE_LETTERS,
    fact,
    question,
)
from studies.scaling_laws.recipes.text import held_out_files, text_root

LAB = Form(
    fact=fact("{key}", "{value}"),
    question=question("{key}"),
    answer="{value}",
    key_letters=KEYS,
    key_length=1,
    value_letters=VALUE_LETTERS,
    value_length=VALUE_LENGTH,
    after=r"\n",
)
"""The wording of `studies.scaling_laws.recipes.retrieval_text`."""


@functools.cache
def held_out_text(root: Path | None = None) -> str:
    """Return the sources that no model of the lab was trained on, one after another.

    Args:
        root: folder of all sources, as for `studies.scaling_laws.recipes.text.training_text`.
    """
    held_out = held_out_files(root or text_root("stdlib"))
    return "".join(path.read_text(encoding="utf-8", errors="replace") for path in held_out)
