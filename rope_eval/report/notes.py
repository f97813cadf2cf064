"""What a table's caption says of its cells: why they are blank, or not as their column says."""

from __future__ import annotations

from rope_eval.report.formats import MARK, Cell


class Notes:
    """Why cells are blank, or not as their column says: rows and columns by the reason.

    Reasons of numbers begin with the mark that stands behind these.
    """

    def __init__(self) -> None:
        self._cells: dict[str, dict[str, list[str]]] = {}
        self.marked: dict[str, list[str]] = {}

    def add(self, reason: str, row: str, column: str, *, of: Cell = None) -> None:
        """Take a reason, of a number if there is one."""
        if of is not None:
            reason = f"{MARK} {reason}"
            self.marked.setdefault(row, []).append(column)
        self._cells.setdefault(reason, {}).setdefault(row, []).append(column)

    def caption(self, title: str) -> str:
        """Return a title and a line for each reason."""
        lines = (
            f"{reason}: " + "; ".join(f"{row} ({', '.join(cells)})" for row, cells in rows.items())
            for reason, rows in self._cells.items()
        )
        return "\n".join(f"{line}." for line in (title, *lines))
