"""A case under `patched` and `score_tokens` against the stock model, however a row is computed.

Two settings: the neutral one against the model itself, and another base against a stock model whose
config has that base, with the same weights. The truth of a way to compute rows is what stock gives
in the same way, or in a forward pass of each row alone: they are one, but where a family's own code
has a fault (a state that is lost between pieces, positions that count padding). What agrees with
neither there is left out and said; what raises there in stock is too. Where the two differ by more
than `NATS`, rounding may be why: both are computed again in float64, where it cannot.
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
    TOKENS,
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
from helpers.rows import padded
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.proof import prove
from rope_eval.errors import RopeEvalError
from rope_eval.rope.methods import FIELDS

NATS = 1e-4
PROMPTS = (30, 9, 19)  # tokens of the rows of a padded batch that is continued
NEW = 16  # tokens that are generated
CHUNKS = (7, 32, 4096)
FAULT = 1e-3  # nats between stock and its own forward pass that no rounding explains

Rows = Callable[[PreTrainedModel], list[Tensor]]  # log p of some rows, ``[T, V]`` each


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a case.

    Attributes:
        kind: "exact", "refused", "wrong" or "crashed".
        worst: the largest difference of a log-probability in nats; 0 where nothing was compared.
        where: the setting and the way of the worst, the refusal or the crash.
        reason: why it was refused or how it crashed.
        differences: in nats, by setting and way.
        left_out: the settings and ways that stock itself cannot do.
        seconds: that it took.
    """

    kind: str
    worst: float = 0.0
    where: str = ""
    reason: str = ""
    differences: dict[str, float] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    seconds: float = 0.0


def compare(case: Case) -> Outcome:
    """Build a case and compare it; whatever it raises is an outcome."""
    started = time.perf_counter()
    differences: dict[str, float] = {}
    left_out: list[str] = []
    kind, where, reason = "exact", "", ""
    for where, difference in _comparisons(build(case)):
        try:
            differences[where] = difference()
        except _StockCannotError:
            left_out.append(where)
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
        left_out=left_out,
        seconds=time.perf_counter() - started,
    )


class _StockCannotError(Exception):
    """The stock model gives no truth to compare with."""


def _comparisons(model: PreTrainedModel) -> Iterator[tuple[str, Callable[[], float]]]:
    """Yield the name of each setting and way, and what computes the difference in nats."""
    for setting, spec, stock in _settings(model):
        yield f"{setting}, proof", partial(_proof, model, spec)
        for way, (rows, alone) in _ways().items():
            yield f"{setting}, {way}", partial(_way, model, spec, stock, rows, alone)
        ids = token_ids(TOKENS)
        nll = -log_probabilities(stock, ids)[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
        for chunk in CHUNKS:
            yield f"{setting}, chunks of {chunk}", partial(_scorer, model, spec, chunk, nll)


def _way(
    model: PreTrainedModel, spec: RopeSpec, stock: PreTrainedModel, rows: Rows, alone: Rows
) -> float:
    forward = alone(stock)
    try:
        expected = rows(stock)
    except Exception as error:
        raise _StockCannotError from error
    faulty = _furthest(expected, forward) > FAULT
    try:
        with patched(model, spec):
            found = rows(model)
    except RopeEvalError:
        if faulty:
            raise _StockCannotError from None
        raise
    difference = _furthest(found, expected)
    if faulty:
        difference = min(difference, _furthest(found, forward))
        if difference > NATS:
            raise _StockCannotError
    elif difference > NATS:
        precise, truth = (twin(some, some.config).double() for some in (model, stock))
        with patched(precise, spec):
            difference = _furthest(rows(precise), rows(truth))
    return difference


def _proof(model: PreTrainedModel, spec: RopeSpec) -> float:
    proof = prove(model, spec)
    assert all(nats > 0 for nats in proof.moves.values())
    return proof.neutral


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
    if chosen and has_tables_by_type(config) and FULL in config.layer_types:
        other = twin(model, rebased(config, only=FULL))
        yield "another base of full layers", RopeSpec.from_dict(fields), other


def _ways() -> dict[str, tuple[Rows, Rows]]:
    """Return each way to compute rows, and the same rows in a forward pass of each alone."""
    rows = [token_ids(n, seed=i)[0] for i, n in enumerate((TOKENS, 23, 41))]
    prompts = [token_ids(n, seed=i)[0] for i, n in enumerate(PROMPTS)]
    alone, said = partial(_alone, rows=rows), partial(_said, prompts=prompts)
    return {
        "forward": (partial(_alone, rows=rows[:1]),) * 2,
        "left-padded": (partial(padded_forward, rows=rows, side="left"), alone),
        "right-padded": (partial(padded_forward, rows=rows, side="right"), alone),
        "pieces through a cache": (
            partial(in_pieces, row=rows[0]),
            partial(_alone, rows=rows[:1]),
        ),
        "generation": (
            partial(_generated, prompts=prompts[:1]),
            partial(_said, prompts=prompts[:1]),
        ),
        "padded generation": (partial(_generated, prompts=prompts), said),
    }


def _alone(model: PreTrainedModel, rows: list[Tensor]) -> list[Tensor]:
    return [log_probabilities(model, row[None])[0] for row in rows]


def padded_forward(model: PreTrainedModel, rows: list[Tensor], side: str) -> list[Tensor]:
    input_ids, mask = padded(rows, side)
    position_ids = (mask.cumsum(-1) - 1).clamp(min=0)
    log_p = log_probabilities(model, input_ids, attention_mask=mask, position_ids=position_ids)
    return [log_p[i, mask[i].bool()] for i in range(len(rows))]


@torch.no_grad()
def in_pieces(model: PreTrainedModel, row: Tensor) -> list[Tensor]:
    """Return log p, the row given as a prompt, single tokens and the rest, to a cache."""
    cache: dict[str, Any] = {}
    found = []
    for piece in row.split([40, *[1] * 8, len(row) - 48]):
        out = model(piece[None], use_cache=True, **cache)
        name = next(n for n in ("cache", "past_key_values") if out.get(n) is not None)
        cache = {name: out[name]}
        found.append(out.logits[0].double().log_softmax(-1))
    return [torch.cat(found)]


def _generated(model: PreTrainedModel, prompts: list[Tensor]) -> list[Tensor]:
    """Return log p of the tokens that `generate` chose among, though all say `_script`."""
    input_ids, mask = padded(prompts, "left")
    out: Any = model.generate(
        input_ids,
        attention_mask=mask,
        max_new_tokens=NEW,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        logits_processor=[_Forced(input_ids.shape[1])],
    )
    return list(torch.stack(out.logits, dim=1).double().log_softmax(-1))


def _said(model: PreTrainedModel, prompts: list[Tensor]) -> list[Tensor]:
    """Return the same from a forward pass of each row."""
    rows = [torch.cat((prompt, _script(i))) for i, prompt in enumerate(prompts)]
    return [log_p[-NEW - 1 : -1] for log_p in _alone(model, rows)]


def _script(row: int) -> Tensor:
    return token_ids(NEW, seed=100 + row)[0]


class _Forced:
    """A processor of logits that has every generation say the same tokens."""

    def __init__(self, prompt: int):
        self.prompt = prompt

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        forced = torch.full_like(scores, float("-inf"))
        for row in range(len(scores)):
            forced[row, _script(row)[input_ids.shape[1] - self.prompt]] = 0.0
        return forced


def _furthest(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest difference; infinity where one is not a number."""
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).abs().nan_to_num(nan=torch.inf).max()) for a, b in pairs)


def _crash(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = str(error).split("\n", 1)[0][:200]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {said}"
