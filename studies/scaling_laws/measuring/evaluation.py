"""What the lab is measured on: pieces of text that it is not trained on, in disjoint sets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rope_eval.errors import LengthError
from studies.scaling_laws.recipes.model import BOUNDARY_ID

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationText:
    """Pieces of held-out text, all of one length.

    Attributes:
        pieces: int64 [tokens] each: BOUNDARY_ID, then bytes. None overlaps another, so
            neither do their sets (`studies.scaling_laws.measurements.set_numbers`).
        sha256: digest of the pieces.
    """

    pieces: tuple[Tensor, ...]
    sha256: str


def evaluation_text(held_out: Sequence[Path], *, pieces: int, tokens: int) -> EvaluationText:
    """Cut the held-out files, one after another, into pieces spread evenly over them.

    Args:
        held_out: the files that `recipes.text.training_text` leaves out for this.
        pieces: how many to take.
        tokens: of each, the boundary token before it included.

    Raises:
        LengthError: there is too little text.
    """
    import numpy as np
    import torch

    text = b"".join(path.read_bytes() for path in held_out)
    size = tokens - 1
    there = len(text) // size
    if there < pieces:
        raise LengthError(
            f"{pieces} pieces of {tokens} tokens are wanted, and the {len(held_out)} held-out "
            f"files have text for {there}: ask for fewer or shorter ones"
        )
    chosen = [
        text[start : start + size] for start in (i * there // pieces * size for i in range(pieces))
    ]
    stream = np.frombuffer(b"".join(chosen), dtype=np.uint8).astype(np.int64).reshape(pieces, size)
    rows = np.pad(stream, ((0, 0), (1, 0)), constant_values=BOUNDARY_ID)
    return EvaluationText(
        pieces=tuple(torch.from_numpy(row.copy()) for row in rows),
        sha256=hashlib.sha256(b"".join(chosen)).hexdigest(),
    )
