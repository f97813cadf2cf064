"""Whole documents under lm-eval, for every backend of `scaling_rope`."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from rope_eval import __version__
from rope_eval.backends.hf.encoding import first_tokens
from rope_eval.errors import LengthError, SpecError
from rope_eval.hosts.lm_eval.cuts import Cuts
from rope_eval.hosts.lm_eval.kept_answers import keep_apart, tokenizer_digest
from rope_eval.protocols.perplexity import PerplexityProtocol
from rope_eval.rope.reach import Reach
from rope_eval.scoring.windows import score_windows

if TYPE_CHECKING:
    from torch import Tensor

    from rope_eval.rope.rotary import Rotary
    from rope_eval.scores import TokenScores, Windows


LoglikelihoodRequest = tuple[tuple[str, str], list[int], list[int]]
ROLLING_BOS = ("hf", "one")
log = logging.getLogger(__name__)


def check_rolling_bos(rule: Any) -> str:
    """Return how rolling perplexity begins; `SpecError` for another word."""
    if rule not in ROLLING_BOS:
        raise SpecError(f"rolling_bos must be one of {', '.join(ROLLING_BOS)}, got {rule!r}")
    return str(rule)


def check_fits(
    requests: Sequence[LoglikelihoodRequest], max_length: int, *, truncation: bool
) -> None:
    """Raise `LengthError` for a request that is too long, or whose answer alone is.

    Args:
        requests: with the tokens of a context and of its continuation.
        max_length: tokens that a model sees; the last of a request is never an input.
        truncation: whether a request may lose its beginning.
    """
    most = max((len(context) + len(end) for _, context, end in requests), default=0)
    if most > max_length + 1 and not truncation:
        raise LengthError(
            f"a request of {most} tokens is longer than max_length={max_length}: "
            "give max_length=…, or truncation=True to lose its beginning"
        )
    most = max((len(end) for _, _, end in requests), default=0)
    if most > max_length:
        raise LengthError(
            f"a continuation of {most} tokens is longer than max_length={max_length}, and "
            "truncation takes tokens of a context alone: give max_length=…"
        )


class _Asked:
    """A request of whole documents."""

    def __init__(
        self, text: str, lengths: Sequence[int], protocol: Mapping[str, Any] | None = None
    ) -> None:
        self.text, self.lengths = text, tuple(lengths)
        self.protocol = PerplexityProtocol.from_dict(protocol or {})
        self.needs = max(self.protocol.longest(self.lengths), *self.lengths)


class DocumentsMixin(ABC):
    """Scores documents by a backend's `_score_lengths` and `_score_windows`."""

    rope_spec: Any
    proof: Any
    reach: Reach
    cuts: Cuts
    _config: Any
    _rotary: Rotary
    rolling_bos: str
    prefix_token_id: Any
    tok_encode: Any
    tokenizer: Any
    max_length: Any
    rank: Any
    cache_hook: Any

    def get_model_info(self) -> dict[str, Any]:
        """Return what lm-eval records of a model; also the setting, its grounds and proof."""
        host: Any = getattr(super(), "get_model_info", dict)
        return host() | {
            "rope": self.rope_spec.to_dict(),
            "rope_fingerprint": self.rope_spec.fingerprint(),
            "proof": self.proof,
            "laws": self._rotary.laws.to_dict(),
            "reach": self.reach.to_dict(),
            "cut_prompts": self.cuts.to_dict(),
            "dtype": self._dtype(),
            "rolling_bos": {"rule": self.rolling_bos, "tokens": self._bos_of_rolling()},
        }

    def _bos_of_rolling(self) -> int:
        """Return how many BOS (or what lm-eval puts there) a text begins with when it rolls."""
        twice = self.rolling_bos == "hf" and self.tok_encode("a")[:1] == [self.prefix_token_id]
        return 2 if twice else 1

    @abstractmethod
    def _dtype(self) -> str:
        """Return the dtype that the model runs in."""

    @abstractmethod
    def _identity(self) -> dict[str, Any]:
        """Return what answers depend on beside the setting: the weights, and how they are run."""

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Keep answers under --use_cache apart from those of another setting."""
        if cache_hook.dbdict is not None:
            keep_apart(cache_hook, self.answers_depend_on())
        host: Any = super()
        host.set_cache_hook(cache_hook)

    def answers_depend_on(self) -> dict[str, Any]:
        """Return all that can change an answer."""
        shared = {
            "model": type(self).__name__,
            "version": __version__,
            "rope": self.rope_spec.to_dict(),
            "laws": self._rotary.laws.to_dict(),
            "max_length": self.max_length,
            "rolling_bos": self.rolling_bos,
            "dtype": self._dtype(),
            "tokenizer": tokenizer_digest(self.tokenizer),
        }
        return shared | self._identity()

    @abstractmethod
    def _score_lengths(
        self, ids: Tensor, lengths: Sequence[int], progress: Callable[[float], None]
    ) -> dict[int, TokenScores]:
        """Score the first L tokens of a document for each length L."""

    @abstractmethod
    def _score_windows(self, windows: Iterable[list[int]]) -> Iterator[TokenScores]:
        """Score every token of each window but its first, in order."""

    def token_loglikelihoods(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[dict[int, TokenScores] | dict[int, Windows] | None]:
        """Score whole documents, each once for all its requests.

        Args:
            requests: with the arguments ``(text, lengths)``, and a perplexity protocol as its
                plain values where it is not cumulative.
            disable_tqdm: no progress bar.

        Returns:
            For each request the scores of its text's first L tokens for each length L, BOS
            included, or of its windows of L tokens; None for a text shorter than what is read.

        Raises:
            LengthError: where no text is long enough for any request.
        """
        asked = [_Asked(*request.args) for request in requests]
        self._say_prefix()
        add_bos = getattr(self, "add_bos_token", None) is not False
        most = max((one.needs for one in asked), default=0)
        texts = dict.fromkeys(one.text for one in asked)
        ids = {text: first_tokens(self.tokenizer, text, most, add_bos=add_bos) for text in texts}
        fits = [len(ids[one.text]) >= one.needs for one in asked]
        if not any(fits):
            raise LengthError(
                f"no document has the {min(one.needs for one in asked)} tokens that were "
                f"asked for; the longest has {max(map(len, ids.values()))}: ask for shorter "
                "lengths, as in --metadata lengths=[…]"
            )
        wanted: dict[str, set[int]] = defaultdict(set)
        for one, fit in zip(asked, fits, strict=True):
            if fit and not one.protocol.windowed:
                wanted[one.text] |= set(one.lengths)
        longest = max(max(one.lengths) for one, fit in zip(asked, fits, strict=True) if fit)
        self.reach.expect("token_loglikelihoods", longest)
        scored: dict[str, dict[int, TokenScores]] = {}
        quiet = disable_tqdm or self.rank != 0
        with tqdm(total=sum(map(max, wanted.values())), unit="token", disable=quiet) as bar:
            for text, lengths in wanted.items():
                before, longest = bar.n, max(lengths)

                def report(part: float, before: float = before, longest: int = longest) -> None:
                    bar.update(int(before + part * longest - bar.n))

                scored[text] = self._score_lengths(ids[text], sorted(lengths), report)
        return [
            (
                self._windows(ids[one.text], one)
                if one.protocol.windowed
                else {n: scored[one.text][n] for n in one.lengths}
            )
            if fit
            else None
            for one, fit in zip(asked, fits, strict=True)
        ]

    def _windows(self, ids: Tensor, asked: _Asked) -> dict[int, Windows]:
        return score_windows(
            self._score_lengths,
            ids[: asked.needs],
            asked.lengths,
            asked.protocol,
            bos=int(ids[0]) == self.tokenizer.bos_token_id,
            report=lambda part: None,
        )

    def _say_prefix(self) -> None:
        """Say that `prefix_token_id` has no effect here, where it is another token than BOS."""
        given = getattr(self, "custom_prefix_token_id", None)
        if given not in (None, self.tokenizer.bos_token_id):
            log.warning(
                "rope-eval: prefix_token_id=%s has no effect on whole documents: they begin as the "
                "tokenizer begins a text",
                given,
            )

    def loglikelihood_rolling(
        self: Any, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Score texts in windows of `max_length`, as lm-eval's `hf` cuts them.

        With ``rolling_bos="one"`` a BOS that the tokenizer has put before a text is not scored
        after another one.
        """
        if self._bos_of_rolling() == 2:
            log.warning(
                "rope-eval: rolling perplexity begins each text with two BOS, as lm-eval's hf does "
                "(its issue 3333): rolling_bos=one for one"
            )
        windows: list[tuple[int, list[int], int]] = []  # of which text, its tokens, first scored
        for i, request in enumerate(requests):
            tokens = self.tok_encode(request.args[0])
            if self.rolling_bos == "one" and tokens[:1] == [self.prefix_token_id]:
                tokens = tokens[1:]
            for context, continuation in map(
                make_disjoint_window,
                get_rolling_token_windows(
                    token_list=tokens,
                    prefix_token=self.prefix_token_id,
                    max_seq_len=self.max_length,
                    context_len=1,
                ),
            ):
                windows.append((i, context + continuation, len(context) - 1))
        longest = max((len(tokens) for _, tokens, _ in windows), default=0)
        self.reach.expect("loglikelihood_rolling", longest)
        totals = [0.0] * len(requests)
        scores = self._score_windows(tokens for _, tokens, _ in windows)
        bar = tqdm(scores, total=len(windows), disable=disable_tqdm or self.rank != 0)
        for (i, _, first), scored in zip(windows, bar, strict=True):
            totals[i] -= float(scored.nll[first:].sum(dtype="float64"))
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals
