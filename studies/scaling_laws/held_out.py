"""What the study's plans measure on: pieces of text that no checkpoint is trained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rope_eval.errors import LengthError, StoreError
from studies.scaling_laws.names import SETS
from studies.scaling_laws.recipes.grids import Grid
from studies.scaling_laws.recipes.text import held_out_files, text_root

ATTENTION_PIECES = 6
CURVES_FILE, ATTENTION_FILE = "held-out.jsonl", "attention.jsonl"


def pieces_of(held_out: Sequence[Path], *, pieces: int, tokens: int) -> list[str]:
    """Cut the held-out files, one after another, into pieces spread evenly over them.

    None overlaps another, so neither do their sets (`studies.scaling_laws.names.set_numbers`), but
    for a character that the place of a cut lies in.

    Args:
        held_out: the files that `recipes.text.training_text` leaves out for this.
        pieces: how many to take.
        tokens: of each, the boundary token before it included: so many bytes and one.

    Raises:
        LengthError: there is too little text.
    """
    text = b"".join(path.read_bytes() for path in held_out)
    size = tokens - 1
    there = len(text) // size
    if there < pieces:
        raise LengthError(
            f"{pieces} pieces of {tokens} tokens are wanted, and the {len(held_out)} held-out "
            f"files have text for {there}: ask for fewer or shorter ones"
        )
    found = []
    for i in range(pieces):
        start = _character(text, i * there // pieces * size)
        found.append(text[start : _character(text, start + size)].decode(errors="replace"))
    return found


def _character(text: bytes, place: int) -> int:
    """Return where the next character of UTF-8 begins."""
    while place < len(text) and text[place] & 0b1100_0000 == 0b1000_0000:
        place += 1
    return place


def attention_pieces(pieces: Sequence[str]) -> list[str]:
    """Return those whose attention scores are measured: all over the text, as many of each set.

    A step that is a multiple of the sets would stay in one of them.
    """
    step = len(pieces) // ATTENTION_PIECES
    step += step % SETS == 0
    return list(pieces[::step][:ATTENTION_PIECES])


def write_held_out(grid: Grid, folder: Path) -> list[Path]:
    """Write the pieces of a grid as books of `rope_eval.data.books`, and return the files.

    Raises:
        LengthError: there is too little text.
        StoreError: the folder cannot be written to.
    """
    pieces = pieces_of(
        held_out_files(text_root(grid.text)), pieces=grid.pieces, tokens=grid.piece_tokens
    )
    names = {piece: f"piece-{i:02}" for i, piece in enumerate(pieces)}
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, some in (
            (CURVES_FILE, pieces),
            (ATTENTION_FILE, attention_pieces(pieces)),
        ):
            rows = (json.dumps({"id": names[piece], "text": piece}) for piece in some)
            (folder / name).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
            written.append(folder / name)
    except OSError as error:
        raise StoreError(
            f"cannot write to {folder}: {error.strerror or error}. Give another folder"
        ) from error
    return written
