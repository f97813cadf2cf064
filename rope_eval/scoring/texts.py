"""NLL of whole texts in batches, for hosts that hand over a few texts at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from rope_eval.backends.hf.attention import rotary_of, sequence_lengths
from rope_eval.errors import ScoreError
from rope_eval.scoring.prefixes import Ids, families, sharing_pays, walk
from rope_eval.scoring.tokens import LOGITS_AT_ONCE


def whole_nll(model: PreTrainedModel, texts: Sequence[Ids]) -> list[float]:
    """Return each text's sum of NLL over its tokens but the first, in nats.

    Texts that begin alike (MMLU's five examples) are computed once where that pays.

    Args:
        model: a model inside `patched`.
        texts: of two tokens or more.

    Raises:
        ScoreError: for a score that is NaN or infinite.
    """
    rotary = rotary_of(model)
    by_alpha: dict[float, set[Ids]] = defaultdict(set)
    for text in texts:
        whole = rotary.spec.dynamic_ntk == "per_sequence"
        by_alpha[rotary.alpha(len(text)) if whole else 1.0].add(text)
    totals: dict[Ids, float] = {}
    for same_base in by_alpha.values():
        for family in families(tuple(same_base)):
            if sharing_pays(family, model.device.type):
                totals.update(zip(family, walk(model, family), strict=True))
    alone = [text for text in dict.fromkeys(texts) if text not in totals]
    if alone:
        scored = token_nll(model, alone)
        totals |= {text: float(nll.sum()) for text, nll in zip(alone, scored, strict=True)}
    return [totals[text] for text in texts]


def token_nll(model: PreTrainedModel, texts: Sequence[Ids]) -> list[Tensor]:
    """Return −ln p of every text's tokens but the first in nats: float64 ``[T − 1]``, one pass.

    Arguments and errors as for `whole_nll`.
    """
    rows = [torch.tensor(text) for text in texts]
    lengths = torch.tensor([len(row) for row in rows])
    ids = pad_sequence(rows, batch_first=True).to(model.device)
    padding = (torch.arange(ids.shape[1] - 1) < lengths[:, None] - 1).to(model.device)
    head = model.get_output_embeddings()
    step = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    scored = []
    with torch.inference_mode(), sequence_lengths(model, lengths):
        hidden = model.base_model(
            ids[:, :-1], attention_mask=padding, use_cache=False
        ).last_hidden_state
        for i, row in enumerate(rows):
            parts = []
            for start in range(0, len(row) - 1, step):
                stop = min(start + step, len(row) - 1)
                logits = head(hidden[i, start:stop]).float()
                target = ids[i, start + 1 : stop + 1, None].to(logits.device)
                parts.append(logits.logsumexp(-1) - logits.gather(-1, target)[:, 0])
            scored.append(torch.cat(parts).double().cpu())
            if not scored[-1].isfinite().all():
                raise ScoreError(
                    f"the score of a text of {len(row)} tokens is not a number: the run has "
                    "failed (try dtype=float32)"
                )
    return scored
