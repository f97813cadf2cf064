"""The scores of documents, each kept as soon as it is done: what runs are summed from.

``results/runs/documents/<key>.zip`` has the scores of one document's tokens under one setting. Its
key is a hash of both, and not of the lengths: a run of fewer documents, of shorter lengths or of
another collection with the same document finds it. A longer pass takes the place of a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from rope_eval.errors import StoreError
from rope_eval.protocols.perplexity import CUMULATIVE, PerplexityProtocol
from rope_eval.results.identity import run_key
from rope_eval.results.store import Run, Store
from rope_eval.rope.spec import RopeSpec
from rope_eval.scores import Sums, TokenScores, Windows

KIND = "document"
COUNTS = "token_counts"


@contextmanager
def of_known_shape(run: Run) -> Iterator[None]:
    """Turn what reading a stored run of another shape raises into a `StoreError`."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise StoreError(
            f"the record of run {run.key} is of another shape ({error!r}): delete it, or run it "
            "again with --force"
        ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """A document's scores.

    Attributes:
        sums: at each length that was asked for.
        facts: of the setting on the checkpoint, such as its extrapolation bound.
        ran: what the model ran in: dtype, device.
    """

    sums: tuple[Sums, ...]
    facts: Mapping[str, Any]
    ran: Mapping[str, Any]


class Documents:
    """The documents that were scored under one setting.

    Args:
        store: of the runs.
        setting: all that determines a document's scores beside it, of `identity.request`.
        protocol: of the sums; what has windows is kept apart from what is one pass.
    """

    def __init__(
        self,
        store: Store,
        setting: Mapping[str, Any],
        protocol: PerplexityProtocol = CUMULATIVE,
    ) -> None:
        self.store = store.documents
        self.protocol = protocol
        # what a model is called changes no score
        self.setting = {name: value for name, value in setting.items() if name != "model"}
        if protocol.windowed:
            mean = {} if protocol.mean != "windows" else {"bos": "each"}
            rule = {n: v for n, v in protocol.to_dict().items() if n != "mean"} | mean
            self.setting["windows"] = rule  # one scoring serves the other means
        changes = RopeSpec.from_dict(setting["rope"]).base_changes
        self.each_length = protocol.windowed or changes == "per_sequence"

    def request(self, digest: str) -> dict[str, Any]:
        """Return what determines the scores of the document with this digest."""
        return self.setting | {"kind": KIND, "document": digest}

    def key(self, digest: str) -> str:
        """Return its key."""
        return run_key(self.request(digest))

    def read(self, digest: str, lengths: Sequence[int]) -> Scored | None:
        """Return a document's scores, or None where it was not scored at all these lengths.

        Raises:
            StoreError: its file is damaged.
        """
        found = self.found(digest, lengths)
        return None if found is None else found[0]

    def found(self, digest: str, lengths: Sequence[int]) -> tuple[Scored, Run] | None:
        """Return what `read` does, and the document's own run."""
        whole = self.store.whole(self.key(digest))
        if whole is None:
            return None
        kept, arrays = whole
        with of_known_shape(kept):
            passes = kept.results["passes"]
            if self.each_length and not set(lengths) <= set(passes):
                return None
            if lengths[-1] > max(passes):
                return None
            scored = Scored(
                sums=tuple(self._kept_sums(arrays, passes, length) for length in lengths),
                facts=dict(kept.results["facts"]),
                ran=dict(kept.provenance["ran"]),
            )
        return scored, kept

    def keep(
        self,
        digest: str,
        scores: Mapping[int, TokenScores | Windows],
        facts: Mapping[str, Any],
        record: Mapping[str, Any],
    ) -> None:
        """Store a document's scores by length, in the place of what there is.

        Args:
            digest: of the document.
            scores: by length; of lengths that share a pass the longest is kept.
            facts: as in `Scored`.
            record: its provenance, with ``ran`` as in `Scored`.

        Raises:
            StoreError: it cannot be written.
        """
        asked = self.request(digest)
        passes, arrays = self._other_lengths(run_key(asked))
        for length in scores if self.each_length else [max(scores)]:
            passes.add(length)
            arrays |= _arrays(scores[length], length)
        run = Run(
            key=run_key(asked),
            kind=KIND,
            status="done",
            request=asked,
            results={"passes": sorted(passes), "facts": dict(facts)},
            provenance=dict(record),
        )
        self.store.put(run, arrays, replace=True)

    def sums(self, scores: TokenScores | Windows, length: int) -> Sums:
        """Return a document's totals at a length, as the protocol makes them."""
        return self.protocol.sums(scores, length)

    def _kept_sums(self, arrays: Mapping[str, Any], passes: Iterable[int], length: int) -> Sums:
        if self.protocol.windowed:
            return self.sums(arrays[f"windows_{length}"], length)
        return self.sums(_scores(arrays, passes, length), length)

    def _other_lengths(self, key: str) -> tuple[set[int], dict[str, npt.NDArray[Any]]]:
        """Return the passes that stay, where each length has one of its own, and their arrays."""
        with suppress(StoreError):  # what is damaged gives way
            if self.each_length and (whole := self.store.whole(key)) is not None:
                return set(whole[0].results["passes"]), whole[1]
        return set(), {}


class TokenLosses:
    """The losses of a run's tokens, of the documents that it was summed from.

    Args:
        store: the runs.
        run: a run of whole books that is done.

    Attributes:
        documents: how many.
        lengths: of the run.
        each_length: whether each length is a pass of its own, in which a token has another loss.

    Raises:
        StoreError: a document's scores are not there, or damaged.
    """

    def __init__(self, store: Store, run: Run) -> None:
        with of_known_shape(run):
            self.lengths: list[int] = run.request["lengths"]
            keys = run.results["documents"]
            changes = RopeSpec.from_dict(run.request["rope"]).base_changes
        self.each_length = changes == "per_sequence"
        self.documents = len(keys)
        self._passes = [self._read(store.documents, key) for key in keys]

    @property
    def longest(self) -> int:
        """The longest length of the run, in tokens."""
        return self.lengths[-1]

    def at(self, length: int) -> npt.NDArray[np.float32]:
        """Return nats of each token but the first up to a length, [D, length − 1].

        Args:
            length: at most the longest; one of the run where each is a pass of its own.
        """
        rows = [passes[min(n for n in passes if n >= length)] for passes in self._passes]
        return np.stack([row[: length - 1] for row in rows])

    def _read(self, documents: Store, key: str) -> dict[int, npt.NDArray[np.float32]]:
        whole = documents.whole(key)
        if whole is None:
            raise StoreError(
                f"the scores of document {key} are no longer in the store: run it again with "
                "--force"
            )
        run, arrays = whole
        with of_known_shape(run):
            return {n: arrays[f"nll_{n}"] for n in run.results["passes"]}


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenCount:
    """How many tokens a document was seen to have.

    Attributes:
        tokens: so many.
        whole: whether these are all; else it has at least so many.
    """

    tokens: int
    whole: bool


_SEEN: WeakKeyDictionary[Store, dict[str, dict[str, TokenCount]]] = WeakKeyDictionary()


class TokenCounts:
    """How many tokens a model's tokenizer makes of documents: known, none is tokenised for a hit.

    Args:
        store: of the runs.
        setting: as in `Documents`; of it the model counts.
        forget: begin anew.
    """

    def __init__(self, store: Store, setting: Mapping[str, Any], *, forget: bool = False) -> None:
        self.store = store.documents
        of_model = ("fingerprint", "commit", "adapter_base", "trust_remote_code")
        self.request = {name: setting[name] for name in of_model if name in setting}
        self.request["kind"] = COUNTS
        self._kept = {} if forget else self._read()
        seen = _SEEN.setdefault(store, {}).setdefault(run_key(self.request), {})
        if forget:
            seen.clear()
        self.known: dict[str, TokenCount] = seen  # of all that this process asks of the store
        self.known.update(self._kept)

    def keep(self, record: Mapping[str, Any]) -> None:
        """Store what became known.

        Raises:
            StoreError: it cannot be written.
        """
        if self.known == self._kept:
            return
        run = Run(
            key=run_key(self.request),
            kind=COUNTS,
            status="done",
            request=self.request,
            results={
                "tokens": {
                    digest: [count.tokens, count.whole]
                    for digest, count in (self._read() | self.known).items()
                }
            },
            provenance=dict(record),
        )
        self.store.put(run, replace=True)
        self._kept = dict(self.known)

    def _read(self) -> dict[str, TokenCount]:
        try:
            kept = self.store.get(run_key(self.request))
            if kept is None:
                return {}
            with of_known_shape(kept):
                return {
                    digest: TokenCount(tokens=int(tokens), whole=bool(whole))
                    for digest, (tokens, whole) in kept.results["tokens"].items()
                }
        except StoreError:
            return {}  # damaged: counting again tells


def _arrays(scores: TokenScores | Windows, length: int) -> dict[str, npt.NDArray[Any]]:
    if isinstance(scores, TokenScores):
        return {f"nll_{length}": scores.nll, f"hit_{length}": scores.hit}
    return {f"windows_{length}": scores}


def _scores(
    arrays: Mapping[str, npt.NDArray[Any]], passes: Iterable[int], length: int
) -> TokenScores:
    of = min(known for known in passes if known >= length)
    return TokenScores(nll=arrays[f"nll_{of}"], hit=arrays[f"hit_{of}"])
