"""Which dimensions of queries and keys turned, told from what they were before and after."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from rope_eval.backends.hf.layers import Layout

FITS = {torch.float32: 1e-4, torch.float64: 1e-6}  # of the largest element of a query
FITS_COARSE = 0.03  # bfloat16: 8e-3 where the fit is right, and 0.9 where it is wrong


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """The way of turning that is nearest to what a layer did.

    Attributes:
        layout: which dimensions turn.
        keeps_factor: whether they have the factor of cos and sin: a norm that follows takes it off.
        misfit: how far off it is at most, of the largest element.
    """

    layout: Layout
    keeps_factor: bool
    misfit: float


def tolerance(x: Tensor) -> float:
    """Return what rounding explains in a tensor's type, of its largest element."""
    return FITS.get(x.dtype, FITS_COARSE)


def differ(one: Tensor, other: Tensor) -> bool:
    """Tell whether tensors differ by more than rounding explains."""
    if one.shape != other.shape:
        return True
    return not _distance(one, other) <= tolerance(one)


def nearest(pairs: list[tuple[Tensor, Tensor]], inv_freq: Tensor, factor: float) -> Fit | None:
    """Return which way of turning explains queries and keys best; None for heads too narrow.

    Args:
        pairs: each of them before and after, ``[B, N, T, H]``, T positions from 0 on.
        inv_freq: what they turned by, ``[F]``.
        factor: what cos and sin were multiplied by.
    """
    H, F = pairs[0][0].shape[-1], len(inv_freq)
    fits = []
    for offset, interleaved, backwards in product({0, H - 2 * F}, (False, True), (False, True)):
        if offset < 0:
            continue
        layout = Layout(pairs=F, offset=offset, interleaved=interleaved, backwards=backwards)
        for factored in {factor, 1.0}:
            misfit = max(_misfit(layout, inv_freq, factored, *pair) for pair in pairs)
            fits.append(Fit(layout=layout, keeps_factor=factored == factor, misfit=misfit))
    return min(fits, key=lambda fit: fit.misfit, default=None)


def _misfit(
    layout: Layout, inv_freq: Tensor, factor: float, before: Tensor, after: Tensor
) -> float:
    x, found = (layout.canonical(t).double().cpu() for t in (before, after))
    angles = torch.arange(x.shape[2], dtype=torch.float64)[:, None] * inv_freq.double().cpu()
    cos, sin = angles.cos() * factor, angles.sin() * factor
    F = layout.pairs
    first, second = x[..., :F], x[..., F : 2 * F]
    turned = (first * cos - second * sin, second * cos + first * sin, x[..., 2 * F :])
    return _distance(found, torch.cat(turned, dim=-1))


def _distance(one: Tensor, other: Tensor) -> float:
    """Return the largest difference, of the largest element."""
    one, other = (x.double().cpu().nan_to_num() for x in (one, other))  # weights may be no numbers
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-30))
