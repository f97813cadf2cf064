"""What a model does with positions, learnt from the model itself: no list of families.

A probe of a few tokens goes through the model, once with nothing turning and once for each of its
tables with frequencies of our own in it: a layer whose queries and keys change turns by that table,
and its pairs are those that one way of turning, and one only, explains.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from rope_eval.backends.hf.layers import Identity, Layer, Layout, Pattern, Table
from rope_eval.backends.hf.masks import pattern_of
from rope_eval.backends.hf.overrides import ATTRIBUTE, evaluating
from rope_eval.backends.hf.recording import Call, Recorded, recording
from rope_eval.backends.hf.tables import (
    INV_FREQ,
    arguments_of,
    geometry_of_table,
    identity_of,
    is_rotary,
    named,
    scaling,
    with_frequencies,
)
from rope_eval.errors import UnsupportedModelError
from rope_eval.rope.geometry import RotaryGeometry

TOKENS = 4
SLOWEST, FASTEST = 0.2, 1.4  # radians a token, of the probe's own frequencies
FITS = {torch.float32: 1e-4, torch.float64: 1e-6}  # of the largest element of a query
FITS_COARSE = 0.03  # bfloat16: 8e-3 where the fit is right, and 0.9 where it is wrong
KNOWN = frozenset(  # keywords of an attention function that ours obeys, or that change no score
    (
        *("scaling", "dropout", "position_ids", "sliding_window", "softcap", "s_aux", "use_cache"),
        *("is_causal", "output_attentions", "output_hidden_states", "output_router_logits"),
        *("cache_position", "return_dict", "logits_to_keep"),
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Anatomy:
    """How a causal language model turns its queries and keys, and what scoring needs to run it.

    Attributes:
        tables: its tables of angles.
        layers: its attention layers, in the order in which they run.
        patterns: every pattern that it makes a mask of, for a layer or for none.
        base: the name of the model in it that has everything but the head.
        blocks: the name of the list of its decoder layers.
        tuples: of each decoder layer, whether it returns a tuple.
        returns: the type of what its base model returns.
        cache: the type of cache that it makes for itself, None where it makes none.
        keeps_state: whether a decoder layer keeps more of a text than keys and values.
    """

    tables: tuple[Table, ...]
    layers: tuple[Layer, ...]
    patterns: tuple[Pattern, ...]
    base: str
    blocks: str
    tuples: tuple[bool, ...]
    returns: type
    cache: type | None
    keeps_state: bool

    @classmethod
    def of(cls, model: PreTrainedModel) -> Anatomy:
        """Probe a model, or remember what the probe found.

        Raises:
            UnsupportedModelError: by name, for a model whose positions we cannot set.
        """
        model = without_adapter(model)
        patched = vars(model).get(ATTRIBUTE)
        if patched is not None:
            anatomy: Anatomy = patched.anatomy
            return anatomy
        said = model.config.to_json_string(use_diff=False)
        known = _KNOWN.get(model)
        if known is None or known[0] != said:
            known = _KNOWN[model] = said, _Probe(model).anatomy()
        return known[1]

    def taking(self, layers: str) -> frozenset[int]:
        """Return which layers take a setting: places in `layers`.

        Args:
            layers: "full" or "all", as `RopeSpec` has it.
        """
        turning = [i for i, layer in enumerate(self.layers) if layer.table is not None]
        full = [i for i in turning if self.layers[i].pattern.is_full]
        return frozenset(full if layers == "full" and full else turning)


_KNOWN: WeakKeyDictionary[nn.Module, tuple[str, Anatomy]] = WeakKeyDictionary()


def without_adapter(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model that a PEFT adapter is wrapped around, the adapter's layers in it."""
    inner: PreTrainedModel = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner


def geometry(model: PreTrainedModel) -> RotaryGeometry:
    """Return a model's own rotary embedding: that of the layers that take a setting."""
    anatomy = Anatomy.of(model)
    table = anatomy.layers[min(anatomy.taking("full"))].table
    assert table is not None
    return anatomy.tables[table].geometry


class _Probe:
    """A few tokens through a model, again and again."""

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.what = f"this {model.config.model_type} model"
        self.names = {module: name for name, module in model.named_modules()}
        rotaries = {name: m for name, m in model.named_modules() if is_rotary(m)}
        if not rotaries:
            raise self.refused("has no rotary module that could be replaced")
        self.rotaries = rotaries
        self.copies = {name: copy.deepcopy(module) for name, module in rotaries.items()}
        self.identities: dict[tuple[str, str | None], Identity] = {}

    def refused(self, why: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"{self.what} {why}")

    def anatomy(self) -> Anatomy:
        """Return what the probe finds."""
        watched = _Watched(self.model)
        with evaluating(self.model), torch.no_grad(), watched:
            still = self.run(None)
        calls = self.checked(still)
        blocks = self.blocks([self.names[call.module] for call in calls])
        patterns = [pattern_of(function) for function in still.masks]
        asked = list(dict.fromkeys(still.tables))
        found: list[tuple[tuple[str, str | None], Layout] | None] = [None] * len(calls)
        for table in asked:
            with evaluating(self.model), torch.no_grad():
                turned = self.run(table)
            for i, (before, after) in enumerate(zip(calls, turned.calls, strict=True)):
                layout = self.layout(table, before, after)
                if layout is None:
                    continue
                if found[i] is not None:
                    raise self.refused(f"turns {self.names[before.module]} by two tables")
                found[i] = table, layout
        tables: dict[tuple[tuple[str, str | None], int], Table] = {}
        layers = []
        for call, turn in zip(calls, found, strict=True):
            assert call.mask is not None
            pattern = patterns[call.mask]
            if pattern is None:
                raise self.refused(
                    f"has a mask in {self.names[call.module]} that is neither causal, nor a window,"
                    " nor chunks"
                )
            number = None
            if turn is not None:
                key = turn[0], call.query.shape[-1]
                if key not in tables:
                    tables[key] = self.table(*key)
                number = list(tables).index(key)
            name = self.names[call.module]
            layers.append(
                Layer(
                    module=name,
                    number=getattr(call.module, "layer_idx", None),
                    block=int(name[len(blocks) + 1 :].split(".")[0]),
                    table=number,
                    layout=turn and turn[1],
                    pattern=pattern,
                    caches_keys=watched.caches(call),
                )
            )
        if not tables:
            raise self.refused("has rotary modules, but none of them turns its queries and keys")
        held = {layer.block for layer in layers}
        tuples = watched.tuples(self.model.get_submodule(blocks))
        return Anatomy(
            tables=tuple(tables.values()),
            layers=tuple(layers),
            patterns=tuple(dict.fromkeys(p for p in patterns if p is not None)),
            base=blocks.split(".")[0],
            blocks=blocks,
            tuples=tuples,
            returns=watched.returns[blocks.split(".")[0]],
            cache=watched.cache and type(watched.cache),
            keeps_state=len(held) < len(tuples) or watched.keeps_state,
        )

    # ---- passes --------------------------------------------------------------------------------

    def run(self, turning: tuple[str, str | None] | None) -> Recorded:
        """Run the probe with one table of our frequencies, and the others not turning."""
        table = None if turning is None else self.ours(*turning)

        def turn(name: str, layer_type: str | None) -> Callable[..., Any]:
            if (name, layer_type) == turning:
                assert table is not None
                return table
            identity, read = self.identity(name, layer_type), arguments_of(self.copies[name])
            return lambda *args, **kwargs: identity.of(*read(args, kwargs)[:2])

        device = self.model.get_input_embeddings().weight.device
        ids = torch.arange(TOKENS, device=device)[None] + 2
        ids = ids % self.model.config.get_text_config().vocab_size
        with recording(self.model, self.rotaries, turn) as recorded:
            self.model(ids, attention_mask=torch.ones_like(ids), use_cache=True)
        return recorded

    def identity(self, name: str, layer_type: str | None) -> Identity:
        if (name, layer_type) not in self.identities:
            rotary = self.copies[name]
            device = getattr(rotary, named(rotary, layer_type, INV_FREQ)).device
            self.identities[name, layer_type] = identity_of(rotary, layer_type, device)
        return self.identities[name, layer_type]

    def frequencies(self, name: str, layer_type: str | None) -> Tensor:
        """Return the probe's own frequencies of a table, ``[F]``: no two alike, none a multiple."""
        rotary = self.copies[name]
        own: Tensor = getattr(rotary, named(rotary, layer_type, INV_FREQ))
        if own.ndim != 1:
            raise self.refused(f"has a rotary module of frequencies in {own.ndim} dimensions")
        return torch.linspace(SLOWEST, FASTEST, len(own), device=own.device)

    def ours(self, name: str, layer_type: str | None) -> nn.Module:
        own = self.frequencies(name, layer_type)
        return with_frequencies(self.copies[name], layer_type, own)

    # ---- what they say -------------------------------------------------------------------------

    def checked(self, recorded: Recorded) -> list[Call]:
        """Return the calls of the attention function, if they are what ours understands."""
        if not recorded.calls:
            raise self.refused("does not attend through transformers' attention interface")
        if len({id(call.module) for call in recorded.calls}) < len(recorded.calls):
            raise self.refused("runs an attention layer more than once in a pass")
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
        return recorded.calls

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

    def layout(self, table: tuple[str, str | None], before: Call, after: Call) -> Layout | None:
        """Return which pairs of a layer turned, or None where none did."""
        both = [(before.query, after.query), (before.key, after.key)]
        if all(torch.equal(one, other) for one, other in both):
            return None
        inv_freq = self.frequencies(*table)
        factor = scaling(self.copies[table[0]], table[1])
        H, F = before.query.shape[-1], len(inv_freq)
        layouts = {
            Layout(pairs=F, offset=offset, interleaved=interleaved)
            for offset in (0, H - 2 * F)
            for interleaved in (False, True)
            if offset >= 0
        }
        misfits = {
            layout: max(_misfit(layout, inv_freq, factor, *pair) for pair in both)
            for layout in layouts
        }
        if not misfits:
            raise self.refused(f"has {F} frequencies for heads of {H} dimensions")
        best = min(misfits, key=lambda layout: misfits[layout])
        tolerance = FITS.get(before.query.dtype, FITS_COARSE)
        if not misfits[best] <= tolerance:
            raise self.refused(
                f"turns the queries and keys of {self.names[before.module]} in a way that is not "
                f"understood: the nearest is {misfits[best]:.2g} off, where rounding explains "
                f"{tolerance:g}"
            )
        return best

    def table(self, asked: tuple[str, str | None], head_dim: int) -> Table:
        name, layer_type = asked
        return Table(
            module=name,
            layer_type=layer_type,
            geometry=geometry_of_table(self.copies[name], layer_type, head_dim, self.model.config),
            identity=self.identity(name, layer_type),
        )


def _misfit(
    layout: Layout, inv_freq: Tensor, factor: float, before: Tensor, after: Tensor
) -> float:
    """Return how far queries or keys are from those turned by a layout, of their largest."""
    x, found = (layout.canonical(t).double().cpu() for t in (before, after))
    angles = torch.arange(x.shape[2], dtype=torch.float64)[:, None] * inv_freq.double().cpu()
    cos, sin = angles.cos() * factor, angles.sin() * factor
    F = layout.pairs
    first, second = x[..., :F], x[..., F : 2 * F]
    turned = torch.cat(
        (first * cos - second * sin, second * cos + first * sin, x[..., 2 * F :]), dim=-1
    )
    return float((turned - found).abs().max() / x.abs().max())


class _Watched:
    """What a model's modules return in a pass, and the cache that they share."""

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.returns: dict[str, type] = {}
        self.cache: Cache | None = None
        self._returned: dict[nn.Module, bool] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> None:
        for name, module in self.model.named_children():
            hook = module.register_forward_hook(partial(self._after_child, name))
            self._hooks.append(hook)
        for module in self.model.modules():
            if isinstance(module, nn.ModuleList):
                for block in module:
                    hook = block.register_forward_hook(self._after, with_kwargs=True)
                    self._hooks.append(hook)

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _after(self, block: nn.Module, args: Any, kwargs: dict[str, Any], out: Any) -> None:
        self._returned[block] = isinstance(out, tuple)
        given = (x for x in (*args, *kwargs.values()) if isinstance(x, Cache))
        self.cache = next(given, self.cache)

    def _after_child(self, name: str, child: nn.Module, args: Any, out: Any) -> None:
        self.returns[name] = type(out)

    def tuples(self, blocks: nn.Module) -> tuple[bool, ...]:
        """Return of each decoder layer whether it returned a tuple."""
        assert isinstance(blocks, nn.ModuleList)
        return tuple(self._returned.get(block, False) for block in blocks)

    def caches(self, call: Call) -> bool:
        """Tell whether the cache holds the keys that a call attended with."""
        kept = self._kept(call)
        if kept is None or kept.ndim != 4 or kept.shape[-1] != call.key.shape[-1]:
            return False
        return torch.equal(kept, call.key[:, :, call.key.shape[2] - kept.shape[2] :])

    def _kept(self, call: Call) -> Tensor | None:
        layers = getattr(self.cache, "layers", [])
        place = getattr(call.module, "layer_idx", None)
        if not isinstance(place, int) or place >= len(layers):
            return None
        return getattr(layers[place], "keys", None)

    @property
    def keeps_state(self) -> bool:
        """Whether the cache holds more than keys and values."""
        return any(
            hasattr(layer, "recurrent_states") for layer in getattr(self.cache, "layers", [])
        )
