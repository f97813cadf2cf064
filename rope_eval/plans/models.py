"""One loaded model, for all that is measured of it in turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rope_eval.errors import SpecError
from rope_eval.results.identity import fingerprint
from rope_eval.rope.spec import RopeSpec
from rope_eval.scoring.documents import (
    DocumentScorer,
    Loading,
    document_scorer,
    load,
    scorer_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def refuse_budget(loading: Loading) -> None:
    """Raise `SpecError` for a budget of memory, which the scorer of whole documents alone plans."""
    if loading.memory_budget is not None:
        raise SpecError(
            "memory_budget plans whole documents, as `perplexity` scores them: leave it out of a "
            "plan with other measurements"
        )


class LoadedModel:
    """Holds the model that was asked for last; another, or other files of it, takes its place.

    Attributes:
        loads: how often one was loaded.
    """

    def __init__(self) -> None:
        self.loads = 0
        self._of: tuple[str, str, Loading] | None = None
        self._model: PreTrainedModel | None = None
        self._proofs: dict[RopeSpec, dict[str, Any] | str] = {}

    def get(self, name: str, loading: Loading) -> PreTrainedModel:
        """Return a model, loaded if it is not the one that is held."""
        of = (name, fingerprint(name), loading)
        if self._model is None or self._of != of:
            self._of, self._model, self._proofs = None, None, {}  # freed before the next is loaded
            self._model, self._of = load(name, loading), of
            self.loads += 1
        return self._model

    @contextmanager
    def scorer(
        self, name: str, rope: RopeSpec, longest: int, loading: Loading
    ) -> Iterator[DocumentScorer]:
        """Do what `document_scorer` does; a setting is a patch on the model that is held.

        vLLM's engine has one setting for its life, and is made for each.
        """
        if loading.backend != "hf":
            with document_scorer(name, rope, longest, loading) as scorer:
                yield scorer
            return
        model = self.get(name, loading)
        proof = self._proof(model, rope, loading.proof)
        with scorer_of(model, rope, loading, proof, longest) as scorer:
            yield scorer

    @contextmanager
    def under(
        self, name: str, rope: RopeSpec, loading: Loading
    ) -> Iterator[tuple[PreTrainedModel, dict[str, Any]]]:
        """Put a setting on a model, and take it off again.

        Yields:
            The model, and what is recorded of it: ``ran`` and ``proof``.

        Raises:
            SpecError: for a backend that does not give the model itself, or a budget of memory.
        """
        if loading.backend != "hf":
            raise SpecError(f"this is measured on backend hf alone, not on {loading.backend}")
        refuse_budget(loading)
        model = self.get(name, loading)
        proof = self._proof(model, rope, loading.proof)
        with scorer_of(model, rope, loading, proof) as scorer:
            yield model, {"ran": [dict(scorer.ran)], "proof": proof}

    def _proof(self, model: PreTrainedModel, rope: RopeSpec, wanted: bool) -> dict[str, Any] | str:
        if rope not in self._proofs:
            from rope_eval.backends.hf.proof import proof_of

            self._proofs[rope] = proof_of(model, rope, wanted)
        return self._proofs[rope]
