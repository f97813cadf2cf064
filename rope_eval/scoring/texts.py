"""NLL of whole texts, what they share computed once: hosts hand over many that begin alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from rope_eval.backends.hf.attention import rotaries_of, sequence_lengths
from rope_eval.backends.hf.compat import cache_argument, input_device
from rope_eval.backends.hf.replay import Parts, plain_cache
from rope_eval.scoring.by_base import by_base
from rope_eval.scoring.logits import check_vocabulary, score_hidden

MIN_SHARED = 8  # tokens; neighbours with less in common are strangers
PASS_COST = {"cpu": 64, "cuda": 512}  # tokens that take the time of one more pass; cuda: estimated

Ids = tuple[int, ...]
Family = list[Ids]  # texts that begin alike, sorted


def whole_nll(
    model: PreTrainedModel,
    texts: Sequence[Ids],
    *,
    longest_shared: int | None = None,
    alone: Callable[[list[Ids]], Sequence[float]] | None = None,
    track: Callable[[list[Family]], Iterable[Family]] = lambda families: families,
) -> list[float]:
    """Return each text's sum of NLL over its tokens but the first, in nats.

    Texts that begin alike (a question's choices, MMLU's five examples) are scored one after another
    along one cache, each from where it parts from the one before, where that pays on the model's
    device. The others are scored together by `alone`.

    Args:
        model: a model inside `patched`.
        texts: of two tokens or more.
        longest_shared: tokens; longer texts are left to `alone`.
        alone: scores texts that share nothing that pays, each once; by default `token_nll` does, in
            one batch.
        track: passes the families through, and shows how far they are.

    Raises:
        ScoreError: for a score that is NaN or infinite.
    """
    each = list(dict.fromkeys(texts))
    check_vocabulary(model, max(map(max, each), default=0))
    fitting = [text for text in each if longest_shared is None or len(text) <= longest_shared]
    shares = plain_cache(model) is not None
    alike = [
        family
        for same_base in by_base(rotaries_of(model), fitting if shares else [], len)
        for family in families(same_base)
        if sharing_pays(family, input_device(model).type)
    ]
    totals: dict[Ids, float] = {}
    for family in track(alike):
        totals.update(zip(family, _walk(model, family), strict=True))
    if rest := [text for text in each if text not in totals]:
        found = alone(rest) if alone else [float(nll.sum()) for nll in token_nll(model, rest)]
        totals.update(zip(rest, found, strict=True))
    return [totals[text] for text in texts]


def token_nll(model: PreTrainedModel, texts: Sequence[Ids]) -> list[Tensor]:
    """Return −ln p of every text's tokens but the first in nats: float64 ``[T − 1]``, one pass.

    Args:
        model: a model inside `patched`.
        texts: of two tokens or more.

    Raises:
        ScoreError: for a score that is NaN or infinite.
    """
    check_vocabulary(model, max(map(max, texts), default=0))
    rows = [torch.tensor(text) for text in texts]
    lengths = torch.tensor([len(row) for row in rows])
    ids = pad_sequence(rows, batch_first=True).to(input_device(model))
    padding = (torch.arange(ids.shape[1] - 1) < lengths[:, None] - 1).to(input_device(model))
    with torch.inference_mode(), sequence_lengths(model, lengths):
        base = Parts(model).base
        hidden = base(ids[:, :-1], attention_mask=padding, use_cache=False).last_hidden_state
        return [
            _nll(model, hidden[i, : len(row) - 1], ids[i, 1 : len(row)])
            for i, row in enumerate(rows)
        ]


def families(texts: Sequence[Ids]) -> Iterator[Family]:
    """Yield the texts in order, parted where neighbours share fewer than MIN_SHARED tokens.

    >>> few = [(1, 5), (1, *range(9)), (1, *range(8), 3)]
    >>> [len(family) for family in families(few)]
    [2, 1]
    """
    family: Family = []
    for text in sorted(texts):
        if family and common(family[-1], text) < MIN_SHARED:
            yield family
            family = []
        family.append(text)
    if family:
        yield family


def sharing_pays(family: Sequence[Ids], device: str) -> bool:
    """Say whether one pass after another over what is new beats all texts in batches.

    >>> shared = tuple(range(300))
    >>> family = [(*shared, 1, 1), (*shared, 2, 2)]
    >>> sharing_pays(family, "cpu"), sharing_pays(family, "cuda")
    (True, False)
    """
    cost = PASS_COST.get(device, PASS_COST["cuda"])
    computed = passes = 0
    before: Ids = ()
    for text in family:
        new = len(text) - 1 - common(before, text[:-1])
        computed += new
        passes += new > 0
        before = text[:-1]
    return sum(len(text) - 1 for text in family) > computed + cost * passes


def common(a: Ids, b: Ids) -> int:
    """Return how many tokens two texts share from their beginnings.

    >>> common((1, 2, 3), (1, 2, 4, 5))
    2
    """
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def _walk(model: PreTrainedModel, family: Family) -> Iterator[float]:
    """Yield the sum of NLL of each text; under "per_sequence" dynamic NTK all are of one base."""
    cache, base = plain_cache(model), Parts(model).base
    assert cache is not None
    hidden = torch.empty(0, 0)
    nll = torch.empty(0, dtype=torch.float64)
    before: Ids = ()
    for text in family:
        shared = common(before, text)
        cached = min(shared, len(before) - 1, len(text) - 1) if before else 0
        ids = torch.tensor(text, device=input_device(model))
        if before:
            if surplus := cache.get_seq_length() - cached:
                cache.crop(-surplus)
            hidden, nll = hidden[:cached], nll[: shared - 1]
        with torch.inference_mode(), sequence_lengths(model, torch.tensor([len(text)])):
            if cached < len(text) - 1:
                new = base(
                    ids[None, cached:-1], use_cache=True, **{cache_argument(base): cache}
                ).last_hidden_state[0]
                hidden = torch.cat([hidden, new]) if cached else new
            known = len(nll)
            nll = torch.cat([nll, _nll(model, hidden[known:], ids[known + 1 :], known + 1)])
        yield float(nll.sum())
        before = text


def _nll(model: PreTrainedModel, hidden: Tensor, targets: Tensor, first: int = 1) -> Tensor:
    """Return −ln p of targets by the hidden states before them, float64 on the CPU."""
    with Parts(model).head() as head:
        nll, _ = score_hidden(
            head,
            hidden,
            targets,
            vocabulary=model.config.get_text_config().vocab_size,
            first=first,
        )
    return nll.double().cpu()
