"""In Python what the commands do: a spec to a curve, and a curve against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rope_eval.lengths import parse_lengths
from rope_eval.results.store import DEFAULT_ROOT, Run, Store
from rope_eval.rope.spec import RopeSpec
from rope_eval.setting import resolve

if TYPE_CHECKING:
    import pandas as pd

    from rope_eval.report.compare import Comparison


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Cumulative perplexity and accuracy of whole documents, by length.

    Attributes:
        lengths: tokens seen, BOS included.
        perplexity: over all scored tokens up to each length.
        accuracy: the share of them that were the likeliest token, 0 to 1.
        bound: where the law expects the setting to break, in tokens, or None (Theorems 2 and 3 of
            arXiv 2310.05209).
        documents: how many were scored.
        run: what the store has of it: the request, the sums by document, what ran.
    """

    lengths: tuple[int, ...]
    perplexity: tuple[float, ...]
    accuracy: tuple[float, ...]
    bound: float | None
    documents: int
    run: Run

    @property
    def key(self) -> str:
        """The run's key in the store."""
        return self.run.key

    def frame(self) -> pd.DataFrame:
        """Return a row a length."""
        import pandas as pd

        columns = {name: getattr(self, name) for name in ("lengths", "perplexity", "accuracy")}
        return pd.DataFrame(columns).rename(columns={"lengths": "length"})


def curve(
    model: str,
    rope: RopeSpec | Mapping[str, Any] | None = None,
    *,
    lengths: Sequence[int | str],
    books: str = "builtin",
    documents: int | None = None,
    store: Store | None = None,
    **loading: Any,
) -> Curve:
    """Score whole documents under a RoPE setting, in one pass for all lengths.

    What the store has is read, and what is scored is kept there.

    Args:
        model: a directory, a GGUF file, a name on the hub, or a row of the catalogue, whose setting
            `rope` then adds to.
        rope: the setting, or its fields; None for the model's own.
        lengths: tokens seen, such as 4096 or "4k", increasing.
        books: a source of `rope_eval.data.books.read_books`.
        documents: the first so many that are long enough; None for all.
        store: where runs are kept; None for ``results/runs``.
        **loading: of `rope_eval.scoring.documents.Loading`, such as ``dtype="bfloat16"``.

    Raises:
        SpecError: for a setting that makes no sense, or is not served.
        DataError: for a model or books that cannot be read.
        LengthError: where too few documents are long enough.
        RopeEvalError: any other of its kinds, for what cannot be done.
    """
    from rope_eval import catalogue, runner
    from rope_eval.scoring.documents import Loading

    is_row = model in catalogue.load()
    fields = rope.to_dict() if isinstance(rope, RopeSpec) else dict(rope or {})
    setting = resolve(None if is_row else model, model if is_row else None, fields)
    run = runner.measure(
        runner.CumulativeRequest(
            model=setting.checkpoint,
            rope=setting.rope,
            books=books,
            lengths=parse_lengths(",".join(map(str, lengths))),
            documents=documents,
            loading=Loading(**loading),
            row=setting.row,
        ),
        store or Store(DEFAULT_ROOT),
    )
    facts = runner.curve(run)
    return Curve(
        lengths=tuple(facts["lengths"]),
        perplexity=tuple(facts["perplexity"]),
        accuracy=tuple(facts["accuracy"]),
        bound=facts["extrapolation_bound"],
        documents=facts["documents"],
        run=run,
    )


def compare(run: Curve | str, baseline: Curve | str, *, store: Store | None = None) -> Comparison:
    """Compare a run with a baseline, paired over documents or items where both have them.

    Args:
        run: a curve, or what `rope-eval compare` takes: a key, a row that was measured.
        baseline: likewise, or a row of the paper, such as ``paper:LLaMA2 7B/base=500``.
        store: where runs are kept; None for ``results/runs``.

    Raises:
        DataError: for a name that no run has, or nothing in common.
        SpecError: for a row that the paper does not have.
    """
    from rope_eval.report.compare import compare as compared
    from rope_eval.report.sides import side

    store = store or Store(DEFAULT_ROOT)
    one, other = (x.key if isinstance(x, Curve) else x for x in (run, baseline))
    return compared(side(one, store), side(other, store))
