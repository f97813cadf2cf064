"""How commands print a table: as wide as the terminal, or in a format for something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rope_eval.terminal import remark, terminal_width

if TYPE_CHECKING:
    from rope_eval.report.formats import Table

_WHOLE = 10**6  # characters a line, where there is no terminal


def show(table: Table, style: str | None = None) -> None:
    """Print a table.

    Args:
        table: what to print.
        style: ``text``, or one of `rope_eval.report.formats.FORMATS`; by default text on a
            terminal, and Markdown elsewhere. The caption of a CSV goes to standard error.

    Raises:
        SpecError: there is no such format.
    """
    from rope_eval.errors import SpecError, did_you_mean
    from rope_eval.report.formats import FORMATS, render
    from rope_eval.report.terminal import fitted

    if style not in (None, "text", *FORMATS):
        styles = ("text", *FORMATS)
        raise SpecError(
            f"there is no format {style!r}: choose one of {', '.join(styles)}."
            + did_you_mean(str(style), styles)
        )
    width = terminal_width()
    if style == "text" or (style is None and width is not None):
        print(fitted(table, width or _WHOLE))
        return
    print(render(table, style or "markdown"))
    if style == "csv":
        for line in table.caption.splitlines():
            remark(line)
