"""In windows of its own each token has a context that training has shown, and no longer one."""

from __future__ import annotations

import pytest
import torch

from rope_eval import score_tokens
from rope_eval.backends.hf.loading import load_model, load_tokenizer
from rope_eval.paths import asset
from rope_eval.protocols.perplexity import PerplexityProtocol
from rope_eval.scoring.books import long_enough
from rope_eval.scoring.in_window import score_in_windows


@pytest.mark.parametrize(("name", "length"), [("base-1e5", 128), ("base-1e4-512", 512)])
def test_each_token_has_a_context_that_tuning_has_shown(name: str, length: int) -> None:
    model = load_model(str(asset("model_configs") / "lab" / name), device="cpu")
    tokenizer = load_tokenizer(str(asset("model_configs") / "lab" / name))
    ((_, ids),) = long_enough("builtin-chapters", 1100, tokenizer, 1)
    scores = score_in_windows(model, ids, length)
    for token in (1, length // 2, length, length + 1, 3 * length // 2, 1000, 1099):
        contexts = []
        for seen in range(min(token, length // 2), min(token, length) + 1):
            with torch.no_grad():
                logits = model(input_ids=ids[None, token - seen : token]).logits[0, -1]
            contexts.append(-logits.log_softmax(-1)[ids[token]].item())
        assert min(abs(c - scores.nll[token - 1]) for c in contexts) < 1e-4
        if token <= length:  # the first window gives what a pass over the document does
            assert contexts[-1] == pytest.approx(scores.nll[token - 1], abs=1e-4)
    whole = score_tokens(model, ids)
    assert scores.nll[-300:].mean() < whole.nll[-300:].mean() - 0.5  # past the bound it is lost
    longppl = PerplexityProtocol(name="longppl", truncation=length // 2 + 1, stride=length // 2)
    *windows, _, _ = longppl.windows(len(ids), len(ids), bos=False)  # the last tokens apart
    for window in windows:  # what LongPPL calls a token's short context
        short = score_tokens(model, ids[window.begin : window.end]).nll[-window.scored :]
        kept = scores.nll[window.end - 1 - window.scored : window.end - 1]
        assert kept == pytest.approx(short, abs=1e-4)
