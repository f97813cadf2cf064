"""The configs of a plan's models and the sizes that they make, each read once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rope_eval.errors import RopeEvalError
from rope_eval.plans.cell import Cell
from rope_eval.scoring.cost import Cost

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    Of = tuple[str, bool]


class Configs:
    """Configs by checkpoint; PyTorch and transformers are imported when one is read."""

    def __init__(self) -> None:
        self._configs: dict[Of, PreTrainedConfig | RopeEvalError] = {}
        self._costs: dict[Of, Cost | None] = {}

    def of(self, cell: Cell) -> PreTrainedConfig:
        """Return the config of a cell's model.

        Raises:
            RopeEvalError: it cannot be read, or makes no model.
        """
        name, trusted = of = _of(cell)
        if of not in self._configs:
            from rope_eval.backends.hf.loading import load_config

            try:
                self._configs[of] = load_config(name, trust_remote_code=trusted)
            except RopeEvalError as error:
                self._configs[of] = error
        read = self._configs[of]
        if isinstance(read, RopeEvalError):
            raise read
        return read

    def cost(self, cell: Cell) -> Cost | None:
        """Return the size of a cell's model; None for a config that makes none."""
        of = _of(cell)
        if of not in self._costs:
            try:
                self._costs[of] = Cost.of(self.of(cell))
            except RopeEvalError:  # what is wrong is said elsewhere
                self._costs[of] = None
        return self._costs[of]


def _of(cell: Cell) -> Of:
    return cell.setting.checkpoint, cell.loading.trust_remote_code
