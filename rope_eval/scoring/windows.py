"""The windows of a document, each scored as a text of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rope_eval.errors import ScoreError
from rope_eval.protocols.perplexity import PerplexityProtocol
from rope_eval.scores import TokenScores

Report = Callable[[float], None]
Score = Callable[[Tensor, Sequence[int], Report], dict[int, TokenScores]]


def score_windows(
    score: Score,
    ids: Tensor,
    lengths: Sequence[int],
    protocol: PerplexityProtocol,
    *,
    bos: bool,
    report: Report,
) -> dict[int, npt.NDArray[np.float64]]:
    """Score the windows of a document at every length.

    Args:
        score: scores the first L tokens of a text for each length L.
        ids: of the document, int64 ``[T]``.
        lengths: of the windows.
        protocol: one that is windowed.
        bos: whether the document begins with BOS.
        report: told the part of the work that is done.

    Returns:
        For each length a row a window: nats, hits, scored tokens, tokens that are new, ``[W, 4]``;
        of longppl a row of all key tokens.

    Raises:
        ScoreError: for a document without key tokens.
    """
    if protocol.truncation is not None:
        return {n: _key_tokens(score, ids[:n], protocol, report) for n in lengths}
    windows = {n: list(protocol.windows(len(ids), n, bos=bos)) for n in lengths}
    work = sum(window.end - window.begin for some in windows.values() for window in some)
    done = 0
    found = {}
    for length, some in windows.items():
        rows = []
        for window in some:
            text = ids[window.begin : window.end]
            if window.bos:
                text = torch.cat([ids[:1], text])
            scores = score(text, (len(text),), lambda part: None)[len(text)]
            nll, hit = scores.nll[-window.scored :], scores.hit[-window.scored :]
            rows.append((nll.sum(dtype=np.float64), hit.sum(), window.scored, window.new))
            done += window.end - window.begin
            report(done / work)
        found[length] = np.array(rows, dtype=np.float64)
    return found


def _key_tokens(
    score: Score, ids: Tensor, protocol: PerplexityProtocol, report: Report
) -> npt.NDArray[np.float64]:
    """Score the key tokens of a document, ``[1, 4]`` (arXiv 2410.23771, Equations 5 to 7)."""
    assert protocol.truncation is not None
    assert protocol.alpha is not None
    assert protocol.beta is not None
    length = len(ids)
    full = score(ids, (length,), lambda part: report(part / 2))[length]
    late = slice(protocol.truncation - 1, None)
    parts = []
    for window in protocol.windows(length, length, bos=False):
        text = ids[window.begin : window.end]
        parts.append(score(text, (len(text),), lambda part: None)[len(text)].nll[-window.scored :])
        report(0.5 + window.end / length / 2)
    nll, short = full.nll[late], np.concatenate(parts)
    key = (short - nll > protocol.alpha) & (nll < -protocol.beta)
    if not key.any():
        raise ScoreError(
            f"no token is a key token: none of {len(nll)} is likelier by {protocol.alpha:g} nats "
            f"with {length} tokens of context than with {protocol.truncation}"
        )
    count = int(key.sum())
    row = (nll[key].sum(dtype=np.float64), full.hit[late][key].sum(), count, count)
    return np.array([row], dtype=np.float64)
