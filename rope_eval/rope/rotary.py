"""Rotation in tensors: frequencies, octaves, angles, and the scales of queries and keys.

Shape letters: B batch, T tokens, N heads, H head_dim, F = rotary_dim / 2 pairs of dimensions.
Pair n is made of dimensions n and n + F (the half layout of Llama). Angles are computed in
float64: at a million tokens a float32 angle is off by up to 0.06 radians.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor

from rope_eval import theory
from rope_eval.errors import SpecError
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.spec import RopeSpec

XPOS_GAMMA = 0.4  # γ of Eq. 17
XPOS_SPAN = 8  # reference lengths a block of queries may span: ζ₀^(−8/2) = 150 fits half precision
TABLES_KEPT = {"octave": 32, "continuous": 1}  # the latter has another base at every length


def inverse_frequencies(rope_theta: float, rotary_dim: int) -> Tensor:
    """Return θ_n = β^(−2n/d), n = 0 … d/2 − 1, in radians a token: float64 ``[F]``."""
    exponent = torch.arange(0, rotary_dim, 2, dtype=torch.float64) / rotary_dim
    return rope_theta**-exponent


def yarn_frequencies(
    rope_theta: float, rotary_dim: int, factor: float, train_length: int
) -> tuple[Tensor, float]:
    """Return YaRN's frequencies ``[F]`` and attention factor, as `transformers` computes them.

    Source: arXiv 2309.00071, with its β_fast = 32 and β_slow = 1.
    """
    plain = inverse_frequencies(rope_theta, rotary_dim)

    def pair_with_rotations(rotations: float) -> float:
        wavelength = train_length / (rotations * 2 * math.pi)
        return rotary_dim * math.log(wavelength) / (2 * math.log(rope_theta))

    low = max(math.floor(pair_with_rotations(32.0)), 0)
    high = min(math.ceil(pair_with_rotations(1.0)), rotary_dim - 1)
    pairs = torch.arange(rotary_dim // 2, dtype=torch.float64)
    ramp = ((pairs - low) / (high - low if high != low else 0.001)).clamp(0, 1)
    return plain / factor * ramp + plain * (1 - ramp), 0.1 * math.log(factor) + 1.0


def octave(t: Tensor, reference_length: float) -> Tensor:
    """Return ⌈log₂(t / T_ref)⌉, at least 0, for 1-based positions or lengths t: int64, as t."""
    mantissa, exponent = torch.frexp(t.to(torch.float64) / reference_length)
    return (exponent - (mantissa == 0.5).to(exponent.dtype)).clamp(min=0).to(torch.int64)


def octave_alpha(octave_number: int) -> float:
    """Return Eq. 18's α of octave k, 2^(k+1) − 1: 1, 3, 7, 15 for k = 0, 1, 2, 3."""
    return float(2 ** (octave_number + 1) - 1)


class Rotary:
    """A `RopeSpec` applied to a checkpoint's geometry: every number that attention needs.

    Args:
        spec: the setting.
        geometry: what the checkpoint says.

    Raises:
        SpecError: where a law needs a train_length that neither gives, or both scale frequencies.
    """

    def __init__(self, spec: RopeSpec, geometry: RotaryGeometry):
        self.spec = spec
        self.geometry = geometry
        self.rope_theta = spec.rope_theta or geometry.rope_theta
        self.pairs = geometry.rotary_dim // 2
        self._tables: OrderedDict[tuple[float, torch.device], tuple[Tensor, Tensor]] = OrderedDict()

        if geometry.inv_freq is not None and spec.changes_frequencies:
            raise SpecError(
                f"the checkpoint's config already scales its rotary frequencies, so {spec} is "
                "ambiguous: set rope_parameters to rope_type=default in its config.json first"
            )
        self.attention_factor = geometry.attention_factor
        if spec.yarn_factor != 1.0:
            _, self.attention_factor = self._yarn()
        self.critical_pair = self.pairs
        if spec.beyond_critical != "keep":
            self.critical_pair = self.critical_dimension // 2
        self.reference_length = math.inf
        if spec.log_scale or spec.xpos or (spec.dynamic_ntk and spec.ntk_formula == "octave"):
            self.reference_length = self._reference_length(spec.reference_length)
        self.continuous_reference = math.inf
        if spec.ntk_formula == "continuous":
            given = spec.reference_length
            self.continuous_reference = self._reference_length(
                "train" if given == "extra" else given
            )

    # ---- lengths -------------------------------------------------------------------------------

    @property
    def knows_train_length(self) -> bool:
        """Whether the spec or the config gives the context length of pre-training."""
        return (self.spec.train_length or self.geometry.train_length) is not None

    @property
    def train_length(self) -> int:
        """The context length of pre-training, T_train."""
        length = self.spec.train_length or self.geometry.train_length
        if length is None:
            raise SpecError(
                f"{self.spec} needs train_length, and the model's config has no "
                "max_position_embeddings: give train_length=…"
            )
        return length

    @property
    def critical_dimension(self) -> int:
        """d_extra of Lemma 1, a count of dimensions."""
        return theory.critical_dimension(
            head_dim=self.geometry.rotary_dim,
            train_length=self.train_length,
            pretrain_theta=self.spec.pretrain_theta,
        )

    @property
    def extrapolation_bound(self) -> float:
        """T_extra of Theorems 2 and 3, in tokens."""
        return theory.extrapolation_bound(
            self.rope_theta,
            head_dim=self.geometry.rotary_dim,
            train_length=self.train_length,
            tune_length=self.spec.tune_length,
            pretrain_theta=self.spec.pretrain_theta,
        )

    def _reference_length(self, reference: str | float) -> float:
        if isinstance(reference, float):
            return reference
        return float(self.train_length) if reference == "train" else self.extrapolation_bound

    # ---- the base ------------------------------------------------------------------------------

    def alpha(self, length: int) -> float:
        """Return dynamic NTK's factor on the base for a query at t (or a sequence) of `length`."""
        if not self.spec.dynamic_ntk:
            return 1.0
        if self.spec.ntk_formula == "octave":
            return octave_alpha(int(octave(torch.tensor(length), self.reference_length)))
        f, d = self.spec.ntk_factor, self.geometry.rotary_dim
        stretch = f * max(length / self.continuous_reference, 1.0) - (f - 1)
        return float(stretch ** (d / (d - 2)))

    def alpha_end(self, t: int) -> float:
        """Return the last 1-based position that has the same per-query α as t."""
        if self.spec.dynamic_ntk != "per_query":
            return math.inf
        k = int(octave(torch.tensor(t), self.reference_length))
        return float(math.floor(self.reference_length * 2.0**k))

    def inv_freq(self, alpha: float = 1.0) -> Tensor:
        """Return the frequencies under a dynamic factor on the base: float64 ``[F]``."""
        if self.geometry.inv_freq is not None:
            return self.geometry.inv_freq
        if self.spec.yarn_factor != 1.0:
            return self._yarn()[0]
        d = self.geometry.rotary_dim
        theta = self.rope_theta * self.spec.ntk_alpha ** (d / (d - 2)) * alpha
        return inverse_frequencies(theta, d) / self.spec.linear_factor

    def _yarn(self) -> tuple[Tensor, float]:
        return yarn_frequencies(
            self.rope_theta, self.geometry.rotary_dim, self.spec.yarn_factor, self.train_length
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
        if len(self._tables) > TABLES_KEPT[self.spec.ntk_formula]:
            self._tables.popitem(last=False)
        return kept[0][:length], kept[1][:length]

    def _cos_sin(self, alpha: float, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        cos = torch.empty(length, self.pairs, device=device)
        sin = torch.empty_like(cos)
        inv_freq = self.inv_freq(alpha).to(device)
        for start in range(0, length, 65536):
            positions = torch.arange(start, min(start + 65536, length), device=device)
            angles = positions[:, None].to(torch.float64) * inv_freq
            if self.spec.beyond_critical == "clip":
                clipped = positions.clamp(max=self.train_length - 1)[:, None].to(torch.float64)
                beyond = slice(self.critical_pair, None)
                angles[:, beyond] = clipped * inv_freq[beyond]
            cos[start : start + 65536] = angles.cos() * self.attention_factor
            sin[start : start + 65536] = angles.sin() * self.attention_factor
        return cos, sin

    @property
    def scales_queries(self) -> bool:
        """Whether `query_scale` is anything but 1."""
        return self.spec.log_scale or self.spec.beyond_critical == "drop"

    def query_scale(self, positions: Tensor) -> Tensor:
        """Return what the unrotated query is multiplied by, float32 ``[*positions.shape, H]``.

        Log scale is p_t of Eq. 16; "drop" removes the pairs beyond the critical one and changes the
        softmax scale to one over the root of the dimensions that are left.
        """
        scale = torch.ones(*positions.shape, self.geometry.head_dim, device=positions.device)
        if self.spec.log_scale:
            t = (positions + 1).to(torch.float64)
            log_t = t.log() / math.log(self.reference_length)
            scale *= log_t.clamp(min=1.0).to(scale.dtype)[..., None]
        if self.spec.beyond_critical == "drop":
            first, pairs, head_dim = self.critical_pair, self.pairs, self.geometry.head_dim
            scale[..., first:pairs] = 0
            scale[..., pairs + first : 2 * pairs] = 0
            scale *= math.sqrt(head_dim / (head_dim - 2 * (pairs - first)))
        return scale

    @property
    def longest_block(self) -> float:
        """Queries that may share one centre of xPos without overflow; infinite without xPos."""
        return max(1, int(XPOS_SPAN * self.reference_length)) if self.spec.xpos else math.inf

    def xpos_scale(self, offsets: Tensor) -> Tensor:
        """Return ζ_n^(offset / T_ref) of Eq. 17: float32 ``[*offsets.shape, F]``.

        A query at t has the offset t − c and a key at s the offset c − s, with c within the block
        of queries: so near keys stay near 1, and far ones fade to zero as they should.
        """
        n = torch.arange(self.pairs, device=offsets.device, dtype=torch.float64)
        zeta = (XPOS_GAMMA + n / self.pairs) / (XPOS_GAMMA + 1)
        exponent = offsets[..., None].to(torch.float64) / self.reference_length
        return (exponent * zeta.log()).exp().to(torch.float32)


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


def scale_pairs(x: Tensor, scale: Tensor) -> Tensor:
    """Multiply both dimensions of each pair of x ``[B, N, T, H]`` by scale ``[…, T, F]``."""
    F = scale.shape[-1]
    out = x.clone()
    out[..., :F] *= scale
    out[..., F : 2 * F] *= scale
    return out
