"""Perplexity protocols of long texts: which tokens are scored, after which context, and the mean.

One model has perplexities that differ by a factor of four by them, at one length. docs/protocols.md
says who uses which.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rope_eval.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from rope_eval.scores import Sums, TokenScores, Windows

NAMES = ("cumulative", "sliding", "blocks", "last", "longlora", "longppl")
MEANS = ("tokens", "windows", "guide")
FIELDS = ("stride", "mean", "last", "tokens", "truncation", "alpha", "beta")
"""What a protocol takes beside its name."""
LONGPPL = {"truncation": 4096, "stride": 1024, "alpha": 2.0, "beta": -2.0}
"""Of arXiv 2410.23771, and the defaults of its authors' package."""
STRIDE = 256
"""Of PI (arXiv 2306.15595, Section 3.2), YaRN and LongLoRA."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A text of its own: tokens ``begin`` to ``end`` of a document, its last ``scored`` scored.

    Attributes:
        begin: the first token.
        end: after the last token.
        scored: how many of the last tokens count.
        new: tokens that no window before has had: the guide counts one less.
        bos: whether BOS is put before it.
    """

    begin: int
    end: int
    scored: int
    new: int
    bos: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PerplexityProtocol:
    """How the perplexity of a document is made, at a length L.

    Attributes:
        name: ``cumulative``: one pass, all of the first L tokens count. ``last``: one pass, the
            last of the first L count. ``sliding``: windows of L tokens, a stride apart, of which
            the tokens count that no window before has had. ``blocks``: the same, L apart.
            ``longlora``: windows of L tokens, a stride apart, of which all tokens count.
            ``longppl``: of the first L tokens the key tokens: those that a long context makes
            likelier by more than alpha nats than a short one, and no less likely than beta.
        stride: tokens between the beginnings of two windows, of sliding, longlora and longppl.
        mean: of sliding: over ``tokens`` (PI), over ``windows``, each of which begins with BOS
            (YaRN's script), or as in Hugging Face's ``guide``, by the tokens of a window less one.
        last: how many tokens count, of last.
        tokens: of each document the windows go over, of sliding, blocks and longlora.
        truncation: tokens of the short context at least, of longppl.
        alpha: of longppl, in nats.
        beta: of longppl, the log-probability that a key token has at least.

    Raises:
        SpecError: for another name, a number that is missing or below 1, or one without effect.
    """

    name: str = "cumulative"
    stride: int | None = None
    mean: str | None = None
    last: int | None = None
    tokens: int | None = None
    truncation: int | None = None
    alpha: float | None = None
    beta: float | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise SpecError(
                f"there is no perplexity protocol {self.name!r}.{did_you_mean(self.name, NAMES)} "
                f"There are {', '.join(NAMES)}"
            )
        if self.name in ("sliding", "longlora") and self.stride is None:
            object.__setattr__(self, "stride", STRIDE)
        if self.name == "sliding" and self.mean is None:
            object.__setattr__(self, "mean", MEANS[0])
        if self.name == "longppl":
            for name, value in LONGPPL.items():
                if getattr(self, name) is None:
                    object.__setattr__(self, name, value)
        wanted = {
            "stride": self.name in ("sliding", "longlora", "longppl"),
            "mean": self.name == "sliding",
            "last": self.name == "last",
            "tokens": self.windowed and self.name != "longppl",
            **dict.fromkeys(("truncation", "alpha", "beta"), self.name == "longppl"),
        }
        for field, takes in wanted.items():
            value = getattr(self, field)
            if value is not None and not takes:
                raise SpecError(f"protocol {self.name} takes no {field}, got {value!r}")
            if takes and value is None:
                raise SpecError(f"protocol {self.name} needs {field}: {_WHAT[field]}")
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if takes and field in ("alpha", "beta"):
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise SpecError(f"{field} must be a number, got {value!r}")
                if not math.isfinite(value):
                    raise SpecError(f"{field} must be a finite number, got {value!r}")
            elif takes and field != "mean" and not whole:
                raise SpecError(f"{field} must be a whole number of 1 or more, got {value!r}")
        if self.mean is not None and self.mean not in MEANS:
            raise SpecError(
                f"there is no mean {self.mean!r}.{did_you_mean(self.mean, MEANS)} There are "
                f"{', '.join(MEANS)}"
            )

    @property
    def windowed(self) -> bool:
        """Whether a length is several texts of their own, not the beginning of one."""
        return self.name in ("sliding", "blocks", "longlora", "longppl")

    @property
    def label(self) -> str:
        """What stands beside every number.

        >>> PerplexityProtocol(name="sliding", stride=512, tokens=8192).label
        'sliding 512 over 8192 tokens, mean of tokens'
        """
        if self.name == "last":
            return f"last {self.last} tokens"
        if self.name == "longppl":
            return (
                f"longppl, its own evaluator, truncation {self.truncation}, window {self.stride}, "
                f"alpha {self.alpha:g}, beta {self.beta:g}"
            )
        if not self.windowed:
            return self.name
        stride = f" {self.stride}" if self.stride else ""
        mean = {"guide": ", the guide's mean", None: ""}.get(self.mean, f", mean of {self.mean}")
        return f"{self.name}{stride} over {self.tokens} tokens{mean}"

    def longest(self, lengths: tuple[int, ...]) -> int:
        """Return how many tokens of a document are read.

        Raises:
            SpecError: for lengths that the protocol cannot do.
        """
        if self.name == "last" and self.last is not None and self.last >= lengths[0]:
            raise SpecError(
                f"the last {self.last} tokens need lengths of {self.last + 1} or more, got "
                f"{lengths[0]}"
            )
        if self.truncation is not None and self.truncation >= lengths[0]:
            raise SpecError(
                f"key tokens stand after the truncated context of {self.truncation} tokens: ask "
                f"for longer lengths than {lengths[0]}"
            )
        if not self.windowed or self.name == "longppl":
            return lengths[-1]
        assert self.tokens is not None
        stride, needed = self.stride or 1, lengths[-1]
        if stride >= lengths[0]:
            raise SpecError(
                f"a stride of {stride} leaves tokens out between windows of {lengths[0]}: give a "
                "shorter one"
            )
        if self.name == "longlora":
            needed += stride + 1
        if self.tokens < needed:
            raise SpecError(
                f"windows of {lengths[-1]} tokens need tokens={needed} or more, got {self.tokens}"
            )
        return self.tokens

    def windows(self, tokens: int, length: int, *, bos: bool) -> Iterator[Window]:
        """Yield the windows of a document.

        Args:
            tokens: of the document, BOS included.
            length: of a window, BOS included.
            bos: whether the document begins with BOS.
        """
        if self.truncation is not None:
            assert self.stride is not None
            for begin in range(0, tokens - self.truncation, self.stride):
                end = min(begin + self.truncation + self.stride, tokens)
                scored = end - begin - self.truncation
                yield Window(begin=begin, end=end, scored=scored, new=scored)
            return
        if self.name == "longlora":
            assert self.stride is not None
            for begin in range(0, tokens - length, self.stride)[:-1]:  # its script drops the last
                end = begin + length
                yield Window(begin=begin, end=end, scored=length - 1, new=length)
            return
        first = 1 if bos and self.mean == "windows" else 0
        before = first
        for begin in range(first, tokens, self.stride or length):
            end = min(begin + length - first, tokens)
            scored = min(end - before, end - begin - 1 + first)
            if scored:
                yield Window(begin=begin, end=end, scored=scored, new=end - before, bos=first == 1)
            before = end
            if end == tokens:
                return

    def texts(self, lengths: Sequence[int]) -> tuple[int, ...]:
        """Return the tokens of each text that goes through a model for a document."""
        if not self.windowed:
            return tuple(lengths)
        whole = tuple(lengths) if self.name == "longppl" else ()
        return whole + tuple(
            window.end - window.begin
            for length in lengths
            for window in self.windows(self.tokens or length, length, bos=False)
        )

    def sums(self, scores: TokenScores | Windows, length: int) -> Sums:
        """Return a document's totals at a length.

        Args:
            scores: of its tokens, or of its windows where the protocol has windows.
            length: in tokens.
        """
        from rope_eval.scores import TokenScores, last_sums, sums_at, window_sums

        if not isinstance(scores, TokenScores):
            return window_sums(scores, self.mean)
        return last_sums(scores, length, self.last) if self.last else sums_at(scores, length)

    def to_dict(self) -> dict[str, Any]:
        """Return the name and what it takes, as plain JSON values."""
        return {
            name: value for name in ("name", *FIELDS) if (value := getattr(self, name)) is not None
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> PerplexityProtocol:
        """Return the protocol of `to_dict`."""
        return cls(**fields)

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> PerplexityProtocol:
        """Return the protocol of an lm-eval task by its metadata."""
        given = {n: metadata[n] for n in FIELDS if metadata.get(n) is not None}
        return cls(name=metadata.get("perplexity_protocol", "cumulative"), **given)


CUMULATIVE = PerplexityProtocol()
_WHAT = {
    "last": "how many of the last tokens count",
    "tokens": "how many tokens of each document the windows go over",
}
