"""What a figure shows, as tidy data without a drawing library: `figure_data` makes it of a store.

=============  ===================================================================================
data           `FigureData`: a frame, which column is drawn how, and what could not be drawn
source         the store's numbers and runs, chosen once
laws           the bound and the training length that belong to a run
lines          curves and methods: a score by length
local          the loss of tokens near a length, and its interval over documents
bases          base by length
contexts       measured context against the bound
retrieval      accuracy by length and depth
attention      attention scores by relative position
periods        the period of each pair of dimensions; of models, not of runs
=============  ===================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from rope_eval.errors import SpecError, did_you_mean
from rope_eval.report.series.attention import attention
from rope_eval.report.series.bases import bases
from rope_eval.report.series.contexts import contexts
from rope_eval.report.series.data import Axis, FigureData
from rope_eval.report.series.lines import curves, methods
from rope_eval.report.series.retrieval import retrieval
from rope_eval.report.series.source import Source

if TYPE_CHECKING:
    from rope_eval.results.store import Store

__all__ = ["KINDS", "Axis", "FigureData", "figure_data"]

KINDS: Mapping[str, Callable[[Source, str], FigureData]] = MappingProxyType(
    {
        "curves": curves,
        "bases": bases,
        "contexts": contexts,
        "methods": methods,
        "retrieval": retrieval,
        "attention": attention,
    }
)
"""What makes the data of a kind of figure, of a store and a metric."""
WITH_METRIC = ("curves", "bases", "methods")


def figure_data(
    kind: str,
    store: Store,
    *,
    metric: str | None = None,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    lengths: Sequence[int] = (),
) -> FigureData:
    """Return the data of a figure.

    Args:
        kind: one of `KINDS`.
        store: the runs.
        metric: for curves, bases and methods: ``perplexity`` (the default), ``accuracy`` (of tasks
            by length too), ``local-loss``, or another that the store has by length.
        rows: as in `rope_eval.report.choice.chosen`.
        columns: the same.
        lengths: the same; of local loss any lengths up to the longest that was measured.

    Raises:
        SpecError: for a kind, a row, a task or a length that is not there.
        DataError: where nothing is left to draw.
        StoreError: the runs cannot be read; one that is damaged is left out.
    """
    if kind not in KINDS:
        raise SpecError(
            f"there is no figure {kind!r}.{did_you_mean(kind, KINDS)} There are {', '.join(KINDS)}"
        )
    if metric is not None and kind not in WITH_METRIC:
        raise SpecError(f"a metric is for {', '.join(WITH_METRIC)}: {kind} has its own")
    source = Source(store, rows=rows, columns=columns, lengths=lengths)
    return KINDS[kind](source, metric or "perplexity")
