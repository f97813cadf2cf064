"""A few tokens through a model, to learn how its layers turn queries and keys.

They go through it once with nothing turning, and once for each of its tables with frequencies of
our own in it: a layer whose queries and keys change turns by that table, and its pairs are those
that one way of turning explains. Nothing else may change: what does looks at positions in a way
that we cannot set.
"""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rope_eval.backends.hf.anatomy import Anatomy, without_adapter
from rope_eval.backends.hf.attended import differences
from rope_eval.backends.hf.attention import RopeAttention
from rope_eval.backends.hf.compat import input_device
from rope_eval.backends.hf.fit import Fit, differ, nearest, tolerance
from rope_eval.backends.hf.layers import Layer, Pattern, Table
from rope_eval.backends.hf.masks import pattern_of
from rope_eval.backends.hf.overrides import ATTRIBUTE
from rope_eval.backends.hf.passes import TOKENS, Asked, Passes
from rope_eval.backends.hf.recording import Call, Recorded
from rope_eval.backends.hf.tables import (
    INV_FREQ,
    geometry_of_table,
    measured,
)
from rope_eval.backends.hf.watching import Watched, norms_of
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.spec import RopeSpec

ATTENDS = {torch.float32: 1e-4, torch.float64: 1e-4}  # of the largest output of a layer
ATTENDS_COARSE = 0.05
KNOWN = frozenset(  # keywords of an attention function that ours obeys, or that change no score
    (
        *("scaling", "dropout", "position_ids", "sliding_window", "softcap", "s_aux", "use_cache"),
        *("is_causal", "output_attentions", "output_hidden_states", "output_router_logits"),
        *("cache_position", "return_dict", "logits_to_keep"),
    )
)


def anatomy_of(model: PreTrainedModel) -> Anatomy:
    """Probe a model, or remember what the probe found.

    Raises:
        UnsupportedModelError: by name, for a model whose positions we cannot set.
    """
    model = without_adapter(model)
    patched = vars(model).get(ATTRIBUTE)
    if patched is not None:
        anatomy: Anatomy = patched.anatomy
        return anatomy
    said = model.config.to_json_string(use_diff=False), _frequencies(model)
    known = _KNOWN.get(model)
    if known is None or known[0] != said:
        with torch.autocast(input_device(model).type, enabled=False):
            known = _KNOWN[model] = said, _Probe(model).anatomy()
    return known[1]


def _frequencies(model: PreTrainedModel) -> tuple[tuple[float, ...], ...]:
    """Return what the rotary modules hold, which may be other than the config says."""
    held = (x for name, x in model.named_buffers() if name.endswith(INV_FREQ) and not x.is_meta)
    return tuple(tuple(x.flatten().tolist()) for x in held)


_KNOWN: WeakKeyDictionary[nn.Module, tuple[object, Anatomy]] = WeakKeyDictionary()


def geometry(model: PreTrainedModel) -> RotaryGeometry:
    """Return a model's own rotary embedding: that of the layers that take a setting."""
    return anatomy_of(model).geometry


class _Probe:
    """The probe of one model.

    Raises:
        UnsupportedModelError: by name, for a model whose positions we cannot set.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.passes = Passes(model)
        self.names = self.passes.names
        self.refused = self.passes.refused
        self.still = Recorded()

    def anatomy(self) -> Anatomy:
        """Return what the probe finds."""
        watched = Watched(self.model)
        with watched:
            still, scores = self.passes.run(None)
        if state := watched.state:
            raise self.refused(f"keeps what it read in its modules ({state}), not in a cache")
        calls = self.calls(still)
        blocks = self.blocks([self.names[call.module] for call in calls])
        if not watched.ran_in_order(blocks):
            raise self.refused("does not run its decoder layers once each, in their order")
        turns = self.turns(still, scores, calls)
        asked: list[tuple[Asked, int, bool]] = []
        layers = []
        for call, pattern, turn in zip(calls, self.patterns(still, calls), turns, strict=True):
            name, table = self.names[call.module], None
            if turn is not None:
                key = turn[0], call.query.shape[-1], turn[1].keeps_factor
                if key not in asked:
                    asked.append(key)
                table = asked.index(key)
            layers.append(
                Layer(
                    module=name,
                    number=watched.number(call),
                    block=int(name[len(blocks) + 1 :].split(".")[0]),
                    table=table,
                    layout=turn and turn[1].layout,
                    pattern=pattern,
                    caches_keys=watched.caches(call),
                    norms=self.passes.norms.get(name),
                )
            )
        base = blocks.split(".")[0]
        outputs = watched.outputs(blocks)
        anatomy = Anatomy(
            tables=tuple(self.table(*key) for key in asked),
            layers=tuple(layers),
            patterns=tuple(dict.fromkeys(filter(None, map(pattern_of, still.masks)))),
            base=base,
            blocks=blocks,
            outputs=outputs,
            returns=watched.returns[base],
            cache=watched.cache and type(watched.cache),
            keeps_state=len({layer.block for layer in layers}) < len(outputs)
            or watched.keeps_state,
            shares_keys=any(layer.number is None for layer in layers),
            misfit=0.0,
        )
        return replace(anatomy, misfit=self.misfit(anatomy))

    def calls(self, recorded: Recorded) -> list[Call]:
        """Return the call of each attention module, if our attention understands them all.

        One that attends more than once in a row, with the same queries and keys or others, is one.
        """
        if not recorded.calls:
            raise self.refused("does not attend through transformers' attention interface")
        calls: list[Call] = []
        for call in recorded.calls:
            name = self.names[call.module]
            if unknown := [k for k, v in call.keywords.items() if k not in KNOWN and v is not None]:
                raise self.refused(
                    f"gives its attention in {name} {', '.join(unknown)}, which ours does not know"
                )
            if call.own_mask:
                raise self.refused(f"makes the mask of {name} itself, which ours does not know")
            if call.mask is None:
                raise self.refused(f"attends without a mask in {name}")
            if call.key.shape[2] != TOKENS or call.query.shape[2] != TOKENS:
                raise self.refused(f"attends in {name} to what are not its tokens")
            if not calls or calls[-1].module is not call.module:
                calls.append(call)
        if len({call.module for call in calls}) < len(calls):
            raise self.refused("runs an attention layer more than once in a pass")
        return calls

    def blocks(self, modules: list[str]) -> str:
        """Return the name of the list that holds the decoder layers of all attention modules."""
        lists = set()
        for name in modules:
            parts = name.split(".")
            parents = [".".join(parts[:i]) for i in range(1, len(parts))]
            held = [p for p in parents if isinstance(self.model.get_submodule(p), nn.ModuleList)]
            if not held:
                raise self.refused(f"has no list of decoder layers around {name}")
            lists.add(held[0])
        if len(lists) != 1:
            raise self.refused(f"has more than one list of decoder layers: {', '.join(lists)}")
        return lists.pop()

    def patterns(self, recorded: Recorded, calls: list[Call]) -> list[Pattern]:
        """Return which keys the queries of each layer see."""
        patterns = [pattern_of(function) for function in recorded.masks]
        found = []
        for call in calls:
            pattern = None if call.mask is None else patterns[call.mask]
            if pattern is None:
                raise self.refused(
                    f"has a mask in {self.names[call.module]} that is neither causal, nor a window,"
                    " nor chunks"
                )
            found.append(pattern)
        return found

    def turns(
        self, still: Recorded, scores: Tensor, calls: list[Call]
    ) -> list[tuple[Asked, Fit] | None]:
        """Return by which table each layer turns, and how."""
        self.still = still
        found: list[tuple[Asked, Fit] | None] = [None] * len(calls)
        for asked in dict.fromkeys(still.tables):
            recorded, others = self.passes.run(asked)
            if differ(scores, others):
                raise self.refused(
                    f"uses the angles of {asked[0]} for more than turning queries and keys"
                )
            turned = self.calls(recorded)
            by = measured(self.passes.ours(asked), asked[1])
            some = False
            for i, (before, after) in enumerate(zip(calls, turned, strict=True)):
                fit = self.fit(by, before, after)
                if fit is None:
                    continue
                if found[i] is not None:
                    raise self.refused(f"turns {self.names[before.module]} by two tables")
                some = True
                if fit.misfit > tolerance(before.query):
                    return self.turns_before_norms(fit, before.module)
                found[i] = asked, fit
            if not some:
                raise self.refused(
                    f"asks for the angles of {asked[0]} and does not turn queries and keys by them"
                )
        if not any(found):
            raise self.refused("has rotary modules, but none of them turns its queries and keys")
        return found

    def fit(self, by: tuple[Tensor, float], before: Call, after: Call) -> Fit | None:
        """Return how a layer turned, or None where it did not."""
        both = [(before.query, after.query), (before.key, after.key)]
        if not any(differ(one, other) for one, other in both):
            return None
        fit = nearest(both, *by)
        if fit is None:
            raise self.refused(f"turns more dimensions than the {before.query.shape[-1]} of a head")
        return fit

    def turns_before_norms(self, fit: Fit, module: nn.Module) -> list[tuple[Asked, Fit] | None]:
        """Look again with the weights off the norms that follow the rotation, if there are any."""
        norms = (
            {}
            if self.passes.norms
            else norms_of(self.model, self.names, lambda: self.passes.run(None)[0])
        )
        if not norms:
            raise self.refused(
                f"turns the queries and keys of {self.names[module]} in a way that is not "
                f"understood: the nearest is {fit.misfit:.2g} off"
            )
        self.passes.norms = norms
        still, scores = self.passes.run(None)
        return self.turns(still, scores, self.calls(still))

    def misfit(self, anatomy: Anatomy) -> float:
        """Return how far our attention is from the model's own, in the worst layer."""
        attention = RopeAttention(RopeSpec(), anatomy.unscaled())
        for layer in attention.layers:
            names = layer.layer.norms or ()
            layer.norms = tuple(self.model.get_submodule(name) for name in names)
        stock, _ = self.passes.run(None, stock=True)
        with torch.no_grad():
            found = differences(attention, self.still, stock, self.names)
        worst = max(found, key=found.__getitem__, default="")
        if worst and not found[worst] <= ATTENDS.get(self.model.dtype, ATTENDS_COARSE):
            raise self.refused(
                f"attends in {worst} otherwise than ours does: the outputs are {found[worst]:.2g} "
                "off, of the largest"
            )
        return found.get(worst, 0.0)

    def table(self, asked: Asked, head_dim: int, keeps_factor: bool) -> Table:
        """Return what is known of a table."""
        name, layer_type = asked
        geometry = geometry_of_table(
            self.passes.copies[name], layer_type, head_dim, self.model.config
        )
        return Table(
            module=name,
            layer_type=layer_type,
            identity=self.passes.identity(asked),
            geometry=geometry if keeps_factor else geometry.without_factor(),
        )
