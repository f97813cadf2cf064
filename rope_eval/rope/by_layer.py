"""Which layers of a model take a setting, and which part of it."""

from __future__ import annotations

from collections.abc import Sequence

from rope_eval.errors import SpecError
from rope_eval.rope import methods
from rope_eval.rope.spec import RopeSpec

NEUTRAL = RopeSpec()


class ByLayer:
    """A setting on the attention layers of a model.

    Those that rotate take it, and with ``layers=full`` those of them alone that see everything
    before, if there are such. A layer that does not rotate, by the checkpoint or by the setting,
    takes what is of such layers, and nothing else.

    Args:
        spec: the setting.
        count: how many decoder layers the model has.
        numbers: of each attention layer, in which of them it is, from 0.
        rotates: whether it rotates by the checkpoint.
        sees_all: whether its queries see everything before.

    Attributes:
        taking: the layers that rotate by the checkpoint and take the setting.
        kept: those of them that it keeps from rotating.
        still: those, and the ones without rotation by the checkpoint, that take what is of such.

    Raises:
        SpecError: for layers that cannot be kept from rotating, or none.
    """

    def __init__(
        self,
        spec: RopeSpec,
        *,
        count: int,
        numbers: Sequence[int],
        rotates: Sequence[bool],
        sees_all: Sequence[bool],
    ):
        places = range(len(numbers))
        every = spec.layers == "all"
        rotating = frozenset(i for i in places if rotates[i])
        full = frozenset(i for i in rotating if sees_all[i])
        self.taking = rotating if every or not full else full
        asked = methods.kept_still(spec, count)
        self.kept = frozenset(i for i in self.taking if numbers[i] in asked)
        if asked and not self.kept:
            raise SpecError(
                f"{spec} keeps no layer from rotating: none of decoder layers "
                f"{', '.join(map(str, sorted(asked)))} rotates and takes the setting"
                f"{'' if every else ' (layers=all has those with a window take it too)'}"
            )
        own = frozenset(i for i in places if not rotates[i] and (every or sees_all[i]))
        self.still = self.kept | own
        self._of_rotating, self._of_still = spec, NEUTRAL
        if self.still:
            self._of_rotating, of_still = methods.parts(spec)
            self._of_still = NEUTRAL if of_still.is_neutral else of_still

    def part(self, place: int) -> RopeSpec:
        """Return what a layer takes of the setting."""
        if place in self.still:
            return self._of_still
        return self._of_rotating if place in self.taking else NEUTRAL

    @property
    def last(self) -> int:
        """The last layer from which on everything that the setting says is felt."""
        acting = [self.taking - self.kept, self.kept]
        if self._of_still != NEUTRAL:
            acting.append(self.still)
        return min(max(some) for some in acting if some)
