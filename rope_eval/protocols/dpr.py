"""The questions of NQ and TriviaQA as DPR publishes them: the files that OpenCompass reads."""

from __future__ import annotations

import ast
import csv
import io
from pathlib import Path
from typing import Any

from rope_eval.data.readers import read_text
from rope_eval.errors import DataError


def read_questions(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a ``.qa.csv`` file: a question, a tab, and a Python list of its answers.

    Returns:
        Rows with the columns ``question`` and ``answer``, as the hub's nq_open has them.

    Raises:
        DataError: for a file that cannot be read, or a row of another form.
    """
    rows = []
    table = csv.reader(io.StringIO(read_text(path), newline=""), delimiter="\t")
    try:
        for number, cells in enumerate(table, start=1):
            answers = _answers(cells[1]) if len(cells) == 2 else []
            if not answers:
                raise DataError(
                    f"{path}, row {number}: want a question, a tab and a list of answers such as "
                    f"['Nile', 'the Nile'], got {' '.join(cells)[:80]!r}"
                )
            rows.append({"question": cells[0], "answer": answers})
    except csv.Error as error:
        raise DataError(f"{path}, row {len(rows) + 1}: not tab-separated text: {error}") from error
    return rows


def _answers(cell: str) -> list[str]:
    """Return the answers that a cell lists, none where it holds anything else."""
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    texts = isinstance(found, list) and all(isinstance(one, str) for one in found)
    return found if texts else []
