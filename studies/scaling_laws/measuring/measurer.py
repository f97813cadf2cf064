"""Measure the lab's checkpoints, and keep what was measured."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rope_eval.backends.hf.attention import rotary_of
from rope_eval.backends.hf.loading import load_model
from rope_eval.backends.hf.patch import patched
from rope_eval.data.probes import Probe
from rope_eval.results.identity import model_fingerprint
from rope_eval.results.provenance import provenance, timed
from rope_eval.results.store import Run, Store, run_key
from rope_eval.scores import TokenScores, sums_at
from rope_eval.scoring.attention_profile import bin_edges
from rope_eval.scoring.attention_scores import attention_by_distance
from rope_eval.scoring.in_window import score_in_windows
from rope_eval.scoring.tokens import score_lengths
from studies.scaling_laws.measurements import SETS, Kind, Measurement
from studies.scaling_laws.measuring.evaluation import EvaluationText
from studies.scaling_laws.measuring.probing import DEPTHS, lab_probes, marks
from studies.scaling_laws.measuring.protocol import Protocol
from studies.scaling_laws.recipes.grids import GRIDS, HEAD_DIM, PRETRAIN_THETA

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Arrays = dict[str, npt.NDArray[Any]]

ATTENTION_BINS = 48


class Measurer:
    """Measures one grid's checkpoints, or reads what the store has of them.

    Args:
        grid: its name.
        checkpoints: the folder that has them, each by its recipe's name.
        text: what they are measured on.
        filler: held-out text for needles to be planted in.
        store: where measurements are kept.
        protocol: how much is measured.
        device: as in PyTorch; None is CUDA where there is one.
    """

    def __init__(
        self,
        grid: str,
        checkpoints: Path,
        text: EvaluationText,
        filler: str,
        store: Store,
        protocol: Protocol,
        *,
        device: str | None = None,
    ):
        self.grid = grid
        self.checkpoints = checkpoints
        self.text = text
        self.filler = filler
        self.store = store
        self.protocol = protocol
        self.device = device
        self._fingerprints: dict[str, str] = {}
        self._models: dict[str, PreTrainedModel] = {}
        self._probes: list[list[Probe]] = []

    def measure(self, measurement: Measurement) -> Run:
        """Return the run of a measurement, made now if it is not in the store.

        Raises:
            DataError: there is no such checkpoint.
            ScoreError: a score is not a number.
            StoreError: the run cannot be written.
        """
        request = self._request(measurement)
        kept = self.store.get(run_key(request))
        if kept is not None and kept.status == "done":
            return kept
        model = self._model(measurement.recipe.name)
        record = provenance(gpu=_gpu(model))
        rope = measurement.rope.replace(pretrain_theta=PRETRAIN_THETA)
        with timed(record), patched(model, rope):
            rotary = rotary_of(model)
            arrays = _MEASURES[measurement.kind](self, model)
        run = Run(
            key=run_key(request),
            kind=measurement.kind,
            status="done",
            request=request,
            results={
                "extrapolation_bound": rotary.extrapolation_bound,
                "critical_dimension": rotary.critical_dimension,
                "reference_length": _finite(rotary.reference_length),
            },
            provenance=record,
        )
        return self.store.put(run, arrays, replace=kept is not None)

    def _request(self, measurement: Measurement) -> dict[str, Any]:
        name = measurement.recipe.name
        if name not in self._fingerprints:
            self._fingerprints[name] = model_fingerprint(self.checkpoints / name)
        return {
            "kind": measurement.kind,
            "grid": self.grid,
            "checkpoint": name,
            "fingerprint": self._fingerprints[name],
            "recipe": measurement.recipe.to_dict(),
            "head_dim": HEAD_DIM,
            "method": measurement.method,
            "rope": measurement.rope.to_dict(),
            "text": {
                "source": f"held-out {GRIDS[self.grid].text}",
                "sha256": self.text.sha256,
                "sets": SETS,
                "documents": self.protocol.pieces,
                "tokens": self.protocol.tokens,
            },
            **self._asked(measurement.kind),
        }

    def _asked(self, kind: Kind) -> dict[str, Any]:
        """Return what determines a measurement besides the checkpoint and the setting."""
        protocol = self.protocol
        if kind in (Kind.CURVE, Kind.WINDOW):
            return {"lengths": list(protocol.lengths)}
        if kind == Kind.ATTENTION:
            return {
                "bin_edges": list(self._edges()),
                "pieces": [
                    hashlib.sha256(piece.numpy().tobytes()).hexdigest()[:8]
                    for piece in self._attention_pieces()
                ],
            }
        return {
            "lengths": list(protocol.probe_lengths),
            "depths": list(DEPTHS),
            "samples": protocol.samples,
            "filler": hashlib.sha256(self.filler.encode()).hexdigest(),
        }

    def _model(self, name: str) -> PreTrainedModel:
        """Return a checkpoint; the last one is held, as its measurements come together."""
        if name not in self._models:
            self._models = {name: load_model(str(self.checkpoints / name), device=self.device)}
        return self._models[name]

    def _edges(self) -> tuple[int, ...]:
        return bin_edges(self.protocol.attention_tokens - 1, ATTENTION_BINS)

    def _attention_pieces(self) -> tuple[Tensor, ...]:
        return tuple(self.text.pieces[i] for i in self.protocol.attention_indices)

    def _curve(self, model: PreTrainedModel) -> Arrays:
        """Return nats and hits up to each length: float32 and int32 ``[pieces, lengths]``."""
        lengths = self.protocol.lengths
        return self._sums(lambda piece: score_lengths(model, piece, lengths))

    def _window(self, model: PreTrainedModel) -> Arrays:
        """Return the same of the same tokens, each scored in a window that tuning has shown."""
        rope = rotary_of(model).spec
        length = rope.tune_length or rope.train_length
        assert length is not None, "the lab's recipes say their lengths"

        def scored(piece: Tensor) -> dict[int, TokenScores]:
            scores = score_in_windows(model, piece, length)
            return dict.fromkeys(self.protocol.lengths, scores)

        return self._sums(scored)

    def _sums(self, scored: Callable[[Tensor], Mapping[int, TokenScores]]) -> Arrays:
        lengths, pieces = self.protocol.lengths, self.text.pieces
        nll = np.empty((len(pieces), len(lengths)), dtype=np.float32)
        hits = np.empty((len(pieces), len(lengths)), dtype=np.int32)
        for i, piece in enumerate(pieces):
            scores = scored(piece)
            for k, length in enumerate(lengths):
                sums = sums_at(scores[length], length)
                nll[i, k], hits[i, k] = sums.nll, sums.hits
        return {"nll": nll, "hits": hits}

    def _retrieval(self, model: PreTrainedModel) -> Arrays:
        """Return marks and nats of the values: ``[samples, lengths, depths]``."""
        if not self._probes:
            self._probes = lab_probes(self.filler, self.protocol)
        right, nll = zip(*(marks(model, probes) for probes in self._probes), strict=True)
        shape = (len(self._probes), self.protocol.samples, len(DEPTHS))
        return {
            "right": np.stack(right).reshape(shape).swapaxes(0, 1).copy(),
            "nll": np.stack(nll).reshape(shape).swapaxes(0, 1).copy(),
        }

    def _attention(self, model: PreTrainedModel) -> Arrays:
        """Return each piece's sums over layers and heads ``[pieces, 2, bins]``, and counts."""
        profiles = [
            attention_by_distance(
                model,
                piece[: self.protocol.attention_tokens],
                first_pair_beyond=rotary_of(model).critical_dimension // 2,
                bin_edges=self._edges(),
            )
            for piece in self._attention_pieces()
        ]
        layers, heads = profiles[0].sums.shape[:2]
        return {
            "sums": np.stack([profile.sums.sum((0, 1)) for profile in profiles]),
            "squares": np.stack([profile.squares.sum((0, 1)) for profile in profiles]),
            "counts": profiles[0].counts * layers * heads,
        }


_MEASURES: Mapping[Kind, Callable[[Measurer, PreTrainedModel], Arrays]] = {
    Kind.CURVE: Measurer._curve,
    Kind.WINDOW: Measurer._window,
    Kind.RETRIEVAL: Measurer._retrieval,
    Kind.ATTENTION: Measurer._attention,
}


def _finite(length: float) -> float | None:
    return length if math.isfinite(length) else None


def _gpu(model: PreTrainedModel) -> str | None:
    return torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else None
