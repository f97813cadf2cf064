"""One measurement by several processes: process 0 measures as ever, and the others score for it.

Process 0 reads and writes the store, and prints; what is to be scored it tells the others, which
have loaded the same model. So they need neither the books nor the store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from rope_eval.backends.hf.proof import proof_of
from rope_eval.errors import SpecError
from rope_eval.rope.spec import RopeSpec
from rope_eval.runner.texts import CumulativeRequest
from rope_eval.scores import TokenScores
from rope_eval.scoring.documents import DocumentScorer, Loading, Outcomes, Report, load, scorer_of
from rope_eval.scoring.processes import Processes
from rope_eval.scoring.sharded import score_lengths_over

Share = Literal["documents", "tokens"]
Job = tuple[list[Tensor], list[int]]
OPEN = "open"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """How a measurement's documents are shared out.

    Attributes:
        processes: over which.
        share: whole documents, one each at a time, or the tokens of each document.
    """

    processes: Processes
    share: Share

    @contextmanager
    def open(
        self, model: str, rope: RopeSpec, longest: int, loading: Loading
    ) -> Iterator[DocumentScorer]:
        """Give process 0 what scores documents with the help of the others: `answer`'s opener."""
        self.processes.told(OPEN)
        with self._scorer(model, rope, loading) as scorer:

            def together(
                texts: Sequence[Tensor], lengths: Sequence[int], report: Report
            ) -> Outcomes:
                return self._part(scorer, self.processes.told((list(texts), list(lengths))), report)

            size = self.processes.size
            yield replace(
                scorer,
                together=together,
                at_once=size if self.share == "documents" else 1,
                ran={**scorer.ran, "processes": size, "share": self.share},
            )
        self.processes.told(None)

    def finish(self, status: int) -> int:
        """Tell the others that process 0 is done, and with which exit status; return it."""
        done: int = self.processes.told(status)
        return done

    def follow(self, request: CumulativeRequest) -> int:
        """Score what process 0 asks for until it is done; return its exit status."""
        said = self.processes.told()
        if said == OPEN:
            with self._scorer(request.model, request.rope, request.loading) as scorer:
                while (job := self.processes.told()) is not None:
                    self._part(scorer, job, lambda _: None)
            said = self.processes.told()
        status: int = said
        return status

    @contextmanager
    def _scorer(self, name: str, rope: RopeSpec, loading: Loading) -> Iterator[DocumentScorer]:
        here = replace(loading, device=own_device(loading.device))
        model = load(name, here)
        proof = proof_of(model, rope, loading.proof)
        over: Callable[..., dict[int, TokenScores]] | None = None
        if self.share == "tokens":
            over = partial(score_lengths_over, self.processes)
        with scorer_of(model, rope, here, proof, score=over) as scorer:
            yield scorer

    def _part(self, scorer: DocumentScorer, job: Job, report: Report) -> Outcomes:
        """Do this process's part of a job; process 0 gets what all have found."""
        texts, lengths = job
        if self.share == "tokens":
            return scorer.score_each(texts, lengths, report)
        own = texts[self.processes.rank :][:1]
        found = self.processes.collected(scorer.score_each(own, lengths, report))
        return [one for some in found for one in some]


def own_device(device: str | None) -> str:
    """Return the device of this process: its own GPU of the machine, where GPUs are asked for.

    Args:
        device: as in PyTorch; None is CUDA where there is one.

    Raises:
        SpecError: for one GPU, or all, which several processes cannot have each.
    """
    kind, _, number = (device or ("cuda" if torch.cuda.is_available() else "cpu")).partition(":")
    if number or kind == "auto":
        what = "one GPU" if number else "all GPUs"
        raise SpecError(
            f"the device {device!r} is {what}, and each of the launcher's processes takes its "
            "own: leave it out, and choose GPUs with CUDA_VISIBLE_DEVICES"
        )
    if kind != "cuda":
        return kind
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
