"""Rotation in tensors: frequencies, angles, and the scales of queries and keys.

Shape letters: B batch, T tokens, N heads, H head_dim, F = rotary_dim / 2 pairs of dimensions.
Pair n is made of dimensions n and n + F (the half layout of Llama). Angles are computed in
float64: at a million tokens a float32 angle is off by up to 0.06 radians.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import cached_property

import torch
from torch import Tensor

from rope_eval.errors import SpecError
from rope_eval.rope import methods
from rope_eval.rope.facts import Facts
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.method import BaseChanges, Effect, Method
from rope_eval.rope.spec import RopeSpec

ROWS_AT_ONCE = 65536
TOKENS_AT_ONCE = 4096  # whose keys are turned, or factors computed in float64
RUN = 64  # neighbours whose angles are made from one
LONG = 2.0  # α of a sequence that takes longrope's long frequencies


def inverse_frequencies(rope_theta: float, rotary_dim: int) -> Tensor:
    """Return θ_n = β^(−2n/d), n = 0 … d/2 − 1, in radians a token: float64 ``[F]``."""
    exponent = torch.arange(0, rotary_dim, 2, dtype=torch.float64) / rotary_dim
    return rope_theta**-exponent


class Rotary(Facts):
    """A `RopeSpec` applied to a checkpoint's geometry: every number that attention needs.

    Args:
        spec: the setting.
        geometry: what the checkpoint says.

    Attributes:
        effective_from: of each active field the shortest text, in tokens, of which it changes a
            score; None where it changes none on this checkpoint.

    Raises:
        SpecError: where a law needs a train_length that neither gives, or both scale frequencies.
    """

    spec: RopeSpec

    def __init__(self, spec: RopeSpec, geometry: RotaryGeometry):
        super().__init__(spec, geometry)
        active = methods.active(spec)
        if geometry.inv_freq is not None and any(m.frequencies == "set" for m in active):
            raise SpecError(
                f"the checkpoint's config already scales its rotary frequencies, so {spec} is "
                "ambiguous: set rope_parameters to rope_type=default in its config.json first"
            )
        if geometry.long is not None and spec.base_changes != "never":
            raise SpecError(
                f"the checkpoint's config has frequencies for long sequences (longrope), so {spec} "
                "is ambiguous: set rope_parameters to rope_type=default in its config.json first"
            )
        by_method = [(method, method.effect(self)) for method in active if method.effect]
        effects = [effect for _, effect in by_method]
        self._bases = [e.base for e in effects if e.base]
        self._frequencies = [e.frequencies for e in effects if e.frequencies]
        self._positions = [e.positions for e in effects if e.positions]
        self._query_scales = [e.query_scale for e in effects if e.query_scale]
        self._pair_scales = [e.pair_scale for e in effects if e.pair_scale]
        self._attention_factors = [e.attention_factor for e in effects if e.attention_factor]
        self.position_map = next((e.position_map for e in effects if e.position_map), None)
        self.schedule = next((e.schedule for e in effects if e.schedule), None)
        self.longest_block = min((e.longest_block for e in effects), default=math.inf)
        self.reference_length = min((e.reference_length for e in effects), default=math.inf)
        self.effective_from = self._effective_from(by_method)
        self._tables: OrderedDict[tuple[float, torch.device], tuple[Tensor, Tensor]] = OrderedDict()

    def _effective_from(self, by_method: list[tuple[Method, Effect]]) -> dict[str, int | None]:
        # the last token of a text is no query, but counts in the length of its sequence
        read = 0 if self.spec.base_changes == "per_sequence" else 1
        begins = {
            field: effect.shortest_text(read)
            for method, effect in by_method
            for field in method.given(self.spec)
        }
        refers = any("bound" in method.needs for method, _ in by_method)
        if "reference_length" in self.spec.to_dict() and not refers:
            begins["reference_length"] = math.inf
        return {f: None if math.isinf(start) else int(start) for f, start in begins.items()}

    # ---- the base ------------------------------------------------------------------------------

    @cached_property
    def base_changes(self) -> BaseChanges:
        """When a token's frequencies change, by the setting or by the config's longrope."""
        return self.spec.base_changes if self.geometry.long is None else "per_sequence"

    def alpha(self, length: int) -> float:
        """Return the factor on the base for a query at t (or a sequence) of `length`.

        Under longrope it is 2 for a sequence that takes the long frequencies.
        """
        if length > self.geometry.short_length:
            return LONG
        return 1.0 if self.schedule is None else self.schedule.alpha(length)

    def alpha_end(self, t: int) -> float:
        """Return the last 1-based position of a sequence that has the same α as t."""
        if self.schedule is None or self.base_changes != "per_query":
            return math.inf
        return self.schedule.end(t)

    def inv_freq(self, alpha: float = 1.0) -> Tensor:
        """Return the frequencies under a dynamic factor on the base: float64 ``[F]``."""
        geometry = self.geometry
        if geometry.long is not None:
            geometry, alpha = (geometry.long if alpha == LONG else geometry), 1.0
        theta = geometry.rope_theta
        for base in self._bases:
            theta = base(theta, alpha)
        inv_freq = geometry.frequencies(theta)
        if inv_freq is None:
            inv_freq = inverse_frequencies(theta, self.geometry.rotary_dim)
        for frequencies in self._frequencies:
            inv_freq = frequencies(inv_freq, alpha)
        return inv_freq

    def attention_factor(self, alpha: float = 1.0) -> float:
        """Return what cos and sin are multiplied by, as far as it reaches the scores."""
        if not self.geometry.keeps_factor:
            return 1.0
        long = self.geometry.long
        own = self.geometry if long is None or alpha != LONG else long
        return math.prod(
            [own.attention_factor, *(factor(alpha) for factor in self._attention_factors)]
        )

    # ---- tables --------------------------------------------------------------------------------

    def table(self, alpha: float, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return cos and sin of positions 0 … length − 1 under α: float32 ``[length, F]`` each.

        Tables are kept and grow by doubling, so a layer, a chunk or a step of decoding reuses them.
        """
        key = (alpha, device)
        kept = self._tables.pop(key, None)
        if kept is None or len(kept[0]) < length:
            room = max(length, 2 * len(kept[0])) if kept is not None else length
            with torch.inference_mode(False):  # so that autograd may use them later
                kept = self._cos_sin(alpha, room, device)
        self._tables[key] = kept
        if self.schedule is not None and len(self._tables) > self.schedule.tables:
            self._tables.popitem(last=False)
        return kept[0][:length], kept[1][:length]

    def _cos_sin(self, alpha: float, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        cos = torch.empty(length, self.pairs, device=device)
        sin = torch.empty_like(cos)
        for start in range(0, length, ROWS_AT_ONCE):
            stop = min(start + ROWS_AT_ONCE, length)
            positions = torch.arange(start, stop, device=device, dtype=torch.float64)
            cos[start:stop], sin[start:stop] = self.table_at(alpha, positions)
        return cos, sin

    def table_at(self, alpha: float, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and sin of positions, float64 ``[T]``, under α: float32 ``[T, F]`` each."""
        factor = self.attention_factor(alpha)
        positions = positions[:, None]
        for of_pairs in self._positions:
            positions = of_pairs(positions.expand(-1, self.pairs), alpha)
        angles = positions * self.inv_freq(alpha).to(positions.device)
        return (angles.cos() * factor).float(), (angles.sin() * factor).float()

    def run(self, alpha: float, first: int, stop: int, device: torch.device) -> Tensor:
        """Return cos + i·sin of positions first … stop − 1, of a base that is used once.

        Of most angles the sine is not computed: they are sums of two, multiplied in float64.

        Returns:
            complex64 ``[stop - first, F]``.
        """
        if self._positions:
            positions = torch.arange(first, stop, device=device).clamp(min=0)
            return torch.complex(*self.table_at(alpha, positions.double()))
        inv_freq = self.inv_freq(alpha).to(device)
        starts = torch.arange(first, stop, RUN, device=device).double()[:, None] * inv_freq
        within = torch.arange(RUN, device=device).double()[:, None] * inv_freq
        starts, within = (torch.polar(torch.ones_like(x), x) for x in (starts, within))
        within = within * self.attention_factor(alpha)
        turns = torch.empty(len(starts), *within.shape, dtype=torch.complex64, device=device)
        for begun in range(0, len(starts), RUN):
            some = slice(begun, begun + RUN)
            turns[some] = starts[some, None] * within
        return turns.flatten(0, 1)[: stop - first]

    # ---- scales --------------------------------------------------------------------------------

    @property
    def scales_queries(self) -> bool:
        """Whether `query_scale` is anything but 1."""
        return bool(self._query_scales)

    def query_scale(self, positions: Tensor) -> Tensor:
        """Return what the unrotated query is multiplied by, float32 ``[*positions.shape, H]``."""
        scale = torch.ones(*positions.shape, self.geometry.head_dim, device=positions.device)
        for query_scale in self._query_scales:
            scale *= query_scale(positions)
        return scale

    @property
    def scales_pairs(self) -> bool:
        """Whether `pair_scale` is anything but 1."""
        return bool(self._pair_scales)

    def pair_scale(self, offsets: Tensor) -> Tensor:
        """Return what both dimensions of each pair are multiplied by, ``[*offsets.shape, F]``.

        Args:
            offsets: t − c of a query at t, c − s of a key at s, with a centre c within the block
                of at most `longest_block` queries, so that no factor is out of range.
        """
        flat = offsets.reshape(-1)
        scale = torch.ones(len(flat), self.pairs, device=offsets.device)
        for start in range(0, len(flat), TOKENS_AT_ONCE):
            some = slice(start, start + TOKENS_AT_ONCE)
            for pair_scale in self._pair_scales:
                scale[some] *= pair_scale(flat[some])
        return scale.reshape(*offsets.shape, self.pairs)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first 2F dimensions of x by the angles, and pass the others through.

    Args:
        x: ``[B, N, T, H]``, any floating type; the arithmetic is at least float32.
        cos: ``[…, T, F]``, broadcastable against ``[B, N, T, F]``.
        sin: as cos.

    Returns:
        A new tensor as x.
    """
    F = cos.shape[-1]
    precise = torch.promote_types(x.dtype, torch.float32)
    cos, sin = cos.to(precise), sin.to(precise)
    first, second = x[..., :F].to(precise), x[..., F : 2 * F].to(precise)
    rotated = (
        (first * cos).addcmul_(second, sin, value=-1),
        (second * cos).addcmul_(first, sin),
    )
    return torch.cat((*(part.to(x.dtype) for part in rotated), x[..., 2 * F :]), dim=-1)


def side_by_side(x: Tensor, F: int) -> Tensor:
    """Return x ``[…, H]`` with the two dimensions of each of F pairs next to each other."""
    pairs = torch.stack((x[..., :F], x[..., F : 2 * F]), dim=-1).flatten(-2)
    return torch.cat((pairs, x[..., 2 * F :]), dim=-1) if x.shape[-1] > 2 * F else pairs


def rotate_side_by_side(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate x as `rotate` does, and put the two dimensions of each pair next to each other.

    Args:
        x: ``[B, N, T, H]``, any floating type; the arithmetic is at least float32.
        turns: cos + i·sin, complex ``[…, T, F]``, broadcastable against ``[B, N, T, F]``.

    Returns:
        A new tensor as x, as long as the longer of x and turns.
    """
    F, precise = turns.shape[-1], torch.promote_types(x.dtype, torch.float32)
    pairs = torch.complex(x[..., :F].to(precise), x[..., F : 2 * F].to(precise)) * turns
    turned = torch.view_as_real(pairs).flatten(-2).to(x.dtype)
    if x.shape[-1] == 2 * F:
        return turned
    return torch.cat((turned, x[..., 2 * F :].expand(*turned.shape[:-1], -1)), dim=-1)


def rotate_pairs(out: Tensor, x: Tensor, turns: Tensor) -> None:
    """Rotate pairs whose dimensions are next to each other, as complex numbers.

    Args:
        out: what is written, shaped as x, in at least float32.
        x: ``[B, N, T, H]`` of an even H, the pairs first; what follows them is passed through.
        turns: cos + i·sin, complex ``[…, T, F]``, broadcastable against ``[B, N, T, F]``.
    """
    F = turns.shape[-1]
    if x.dtype != out.dtype:
        x = out.copy_(x)
    pairs, turned = (y[..., : 2 * F].view(*y.shape[:-1], F, 2) for y in (x, out))
    torch.mul(torch.view_as_complex(pairs), turns, out=torch.view_as_complex(turned))
    if out is not x:
        out[..., 2 * F :] = x[..., 2 * F :]


def scale_pairs(x: Tensor, scale: Tensor, out: Tensor | None = None) -> Tensor:
    """Multiply both dimensions of each pair of x ``[B, N, T, H]`` by scale ``[…, T, F]``.

    Args:
        x: is left as it is.
        scale: float32.
        out: what is written and returned, shaped as x; None makes a new tensor.
    """
    F = scale.shape[-1]
    out = x.clone() if out is None else out.copy_(x)
    out[..., :F] *= scale
    out[..., F : 2 * F] *= scale
    return out
