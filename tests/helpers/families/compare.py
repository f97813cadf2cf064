"""A case under `patched` and `score_tokens` against the stock model, however a row is computed.

Two settings: the neutral one against the model itself, and another base against a stock model whose
config has that base, with the same weights. What stock itself cannot do is not asked of ours.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from helpers.families.build import (
    BASE,
    Case,
    build,
    has_tables_by_type,
    log_probabilities,
    rebased,
    rotates,
    token_ids,
    twin,
)
from helpers.families.table import FULL
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.errors import RopeEvalError
from rope_eval.rope.methods import FIELDS

NATS = 1e-4
TOKENS = 80  # of the longest row
PROMPTS = (30, 9, 19)  # tokens of the rows of a padded batch that is continued
NEW = 16  # tokens that are generated
CHUNKS = (7, 32, 4096)

Way = Callable[[PreTrainedModel], list[Tensor]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a case.

    Attributes:
        kind: "exact", "refused", "wrong" or "crashed".
        worst: the largest difference of a log-probability in nats; 0 where nothing was compared.
        where: the setting and the way of the worst, the refusal or the crash.
        reason: why it was refused or how it crashed.
        differences: in nats, by setting and way.
        seconds: that it took.
    """

    kind: str
    worst: float = 0.0
    where: str = ""
    reason: str = ""
    differences: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def compare(case: Case) -> Outcome:
    """Build a case and compare it; whatever it raises is an outcome."""
    started = time.perf_counter()
    differences: dict[str, float] = {}
    kind, where, reason = "exact", "", ""
    for where, difference in _comparisons(build(case)):
        try:
            differences[where] = difference()
        except RopeEvalError as error:
            kind, reason = "refused", str(error)
            break
        except Exception as error:  # that it is none of ours is the finding
            kind, reason = "crashed", _crash(error)
            break
    worst = max(differences, key=differences.__getitem__, default="")
    if differences.get(worst, 0.0) > NATS:
        kind, where, reason = "wrong", worst, ""
    elif kind == "exact":
        where = worst
    return Outcome(
        kind=kind,
        worst=differences.get(worst, 0.0),
        where=where,
        reason=reason,
        differences=differences,
        seconds=time.perf_counter() - started,
    )


def _comparisons(model: PreTrainedModel) -> Iterator[tuple[str, Callable[[], float]]]:
    """Yield the name of each setting and way, and what computes the difference in nats."""
    for setting, spec, stock in _settings(model):
        for way, compute in _ways().items():
            try:
                expected = compute(stock)
            except Exception:  # stock itself cannot do it
                continue
            yield f"{setting}, {way}", partial(_way, model, spec, compute, expected)
        ids = token_ids(TOKENS)
        nll = -log_probabilities(stock, ids)[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
        for chunk in CHUNKS:
            yield f"{setting}, chunks of {chunk}", partial(_scorer, model, spec, chunk, nll)


def _way(model: PreTrainedModel, spec: RopeSpec, compute: Way, expected: list[Tensor]) -> float:
    with patched(model, spec):
        return _furthest(compute(model), expected)


def _scorer(model: PreTrainedModel, spec: RopeSpec, chunk: int, nll: Tensor) -> float:
    with patched(model, spec):
        found = score_tokens(model, token_ids(len(nll) + 1)[0], chunk_size=chunk).nll
    return _furthest([torch.from_numpy(found)], [nll])


def _settings(model: PreTrainedModel) -> Iterator[tuple[str, RopeSpec, PreTrainedModel]]:
    config: Any = model.config
    yield "neutral", RopeSpec(), model
    if not rotates(config):
        return
    fields: dict[str, Any] = {"rope_theta": BASE}
    chosen = any(f.name == "layers" for f in FIELDS)
    whole = fields | ({"layers": "all"} if chosen else {})
    yield "another base", RopeSpec.from_dict(whole), twin(model, rebased(config))
    if chosen and has_tables_by_type(config) and FULL in config.rope_parameters:
        other = twin(model, rebased(config, only=FULL))
        yield "another base of full layers", RopeSpec.from_dict(fields), other


def _ways() -> dict[str, Way]:
    rows = [token_ids(n, seed=i)[0] for i, n in enumerate((TOKENS, 23, 41))]
    prompts = [token_ids(n, seed=i)[0] for i, n in enumerate(PROMPTS)]
    return {
        "forward": lambda model: [log_probabilities(model, token_ids(TOKENS))[0]],
        "left-padded": lambda model: _padded_forward(model, rows, "left"),
        "right-padded": lambda model: _padded_forward(model, rows, "right"),
        "pieces through a cache": lambda model: [_in_pieces(model, token_ids(TOKENS))],
        "generation": lambda model: _generated(model, prompts[:1]),
        "padded generation": lambda model: _generated(model, prompts),
    }


def _padded(rows: list[Tensor], side: str) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    input_ids = torch.full((len(rows), longest), 1)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(longest - len(row), None) if side == "left" else slice(len(row))
        input_ids[i, place], mask[i, place] = row, 1
    return input_ids, mask


def _padded_forward(model: PreTrainedModel, rows: list[Tensor], side: str) -> list[Tensor]:
    input_ids, mask = _padded(rows, side)
    position_ids = (mask.cumsum(-1) - 1).clamp(min=0)
    log_p = log_probabilities(model, input_ids, attention_mask=mask, position_ids=position_ids)
    return [log_p[i, mask[i].bool()] for i in range(len(rows))]


@torch.no_grad()
def _in_pieces(model: PreTrainedModel, input_ids: Tensor) -> Tensor:
    """Return log p, the row given in a prompt and single tokens, the cache being the model's."""
    cache: dict[str, Any] = {}
    found, start = [], 0
    for size in (40, *[1] * 8, input_ids.shape[1] - 48):
        out = model(input_ids[:, start : start + size], use_cache=True, **cache)
        name = next(n for n in ("cache", "past_key_values") if out.get(n) is not None)
        cache = {name: out[name]}
        found.append(out.logits[0].double().log_softmax(-1))
        start += size
    return torch.cat(found)


@torch.no_grad()
def _generated(model: PreTrainedModel, rows: list[Tensor]) -> list[Tensor]:
    """Return log p of the tokens that `generate` chose among, row by row, all it forced alike."""
    input_ids, mask = _padded(rows, "left")
    out = model.generate(
        input_ids,
        attention_mask=mask,
        max_new_tokens=NEW,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        logits_processor=[_Script(input_ids.shape[1])],
    )
    return [step.double().log_softmax(-1) for step in out.logits]


class _Script:
    """A processor of logits that has every generation say the same tokens."""

    def __init__(self, prompt: int):
        self.prompt = prompt

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        forced = torch.full_like(scores, float("-inf"))
        step = input_ids.shape[1] - self.prompt
        for row in range(len(scores)):
            forced[row, token_ids(NEW, seed=100 + row)[0, step]] = 0.0
        return forced


def _furthest(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest difference; infinity where one is not a number."""
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).abs().nan_to_num(nan=torch.inf).max()) for a, b in pairs)


def _crash(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = str(error).split("\n", 1)[0][:200]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {said}"
