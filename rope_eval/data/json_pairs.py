"""Keys and values in one JSON object, of which one is asked for: "JSON KV" of HELMET's recall.

After Lost in the Middle (arXiv 2307.03172, Section 3) and HELMET (arXiv 2410.02694), which draws
random UUIDs, asks at six depths and gives two worked examples. Their files are part of an archive
of 34 GB, so objects are drawn here; instruction and examples are worded as in HELMET's `data.py`,
commit 4526dfb (MIT).
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from rope_eval.errors import LengthError

SHOTS = 2
PROMPT = (
    "JSON data:\n{object}\n\nExtract the value corresponding to the specified key in the JSON "
    "object below.\n\n{shots}Key: {key}\nCorresponding value:"
)
SHOT = "Key: {key}\nCorresponding value: {value}\n\n"
_LEAST = SHOTS + 2


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonPairs:
    """One object's worth of draws: the same pairs, in the same order, at every length.

    Attributes:
        seed: of all draws.
        sample: which object.
    """

    seed: int
    sample: int

    @property
    def asked(self) -> tuple[str, str]:
        """Return the pair that is asked for."""
        rng = self._rng("asked")
        return _uuid(rng), _uuid(rng)

    def prompt(self, count: Callable[[str], int], *, room: int, depth: float) -> str:
        """Return the longest prompt that fits.

        Args:
            count: how many tokens a text has, BOS included.
            room: tokens that fit.
            depth: the part of the other pairs before the one that is asked for, 0 to 1.

        Raises:
            LengthError: where not even two other pairs fit beside the worked examples.
        """
        few, more = count(self._text(_LEAST, depth)), count(self._text(2 * _LEAST, depth))
        if few > room:
            raise LengthError(
                f"an object of {_LEAST} pairs and its question take {few} tokens, and {room} fit: "
                "ask for longer lengths"
            )
        pairs, tokens = _LEAST, few
        while more_fit := (room - tokens) * _LEAST // max(more - few, 1):
            pairs = max(_LEAST, pairs + more_fit)
            tokens = count(self._text(pairs, depth))
            if tokens > room:  # pairs differ in length: the rest is one by one
                break
        while tokens > room:
            pairs -= 1
            tokens = count(self._text(pairs, depth))
        while count(self._text(pairs + 1, depth)) <= room:
            pairs += 1
        return self._text(pairs, depth)

    def _text(self, count: int, depth: float) -> str:
        """Return the prompt with so many pairs, the worked examples' and the asked one included."""
        rng = self._rng("pairs")
        pairs = [(_uuid(rng), _uuid(rng)) for _ in range(count - 1)]
        shots = self._rng(f"shots:{count}").sample(pairs, SHOTS)
        key, value = self.asked
        pairs.insert(round(depth * len(pairs)), (key, value))
        return PROMPT.format(
            object="{" + ",\n ".join(f'"{k}": "{v}"' for k, v in pairs) + "}",
            shots="".join(SHOT.format(key=k, value=v) for k, v in shots),
            key=key,
        )

    def _rng(self, what: str) -> random.Random:
        return random.Random(f"{self.seed}:{self.sample}:{what}")


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))
