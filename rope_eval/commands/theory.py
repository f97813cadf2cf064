"""``rope-eval theory``: what the laws say of a model's base and lengths.

Needs the standard library alone: a model's config.json is read as JSON. Only a GGUF file is read
with transformers.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from rope_eval import theory
from rope_eval.errors import SpecError
from rope_eval.lengths import parse_length
from rope_eval.rope.geometry import RopeConfig
from rope_eval.safe_text import shown

_T = TypeVar("_T")

_PRETRAIN_THETA = 10000.0
MOST_DIMENSIONS = 1 << 14
MOST_BASES = 5_000

_EPILOG = """\
examples:
  rope-eval theory --head-dim 128 --train-length 4k
  rope-eval theory --head-dim 128 --train-length 4k --tune-length 16k --rope-theta 1000000
  rope-eval theory --model DIR --target-length 128k --json

Lengths are in tokens; k = 1024 and m = 1024². Sources: arXiv 2310.05209 for the laws,
arXiv 2405.14591 for the lower bound on the base.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "theory",
        help="critical dimension, critical base, extrapolation bound and the bases for a length",
        description="Print what the scaling laws of RoPE say of a base and of lengths.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--model",
        type=Path,
        metavar="DIR",
        help="take what is not given from DIR/config.json, or a GGUF file",
    )
    add("--head-dim", type=int, metavar="D", help="rotary dimension of a head")
    add("--train-length", metavar="LENGTH", help="length of the pre-training")
    add("--tune-length", metavar="LENGTH", help="length of the tuning (default: train length)")
    add("--rope-theta", type=float, metavar="BASE", help="base (default: the pre-training one)")
    add(
        "--pretrain-theta",
        type=float,
        metavar="BASE",
        help=f"base of the pre-training (default: {_PRETRAIN_THETA:g})",
    )
    add("--target-length", metavar="LENGTH", help="also print the bases that a context needs")
    add(
        "--bases-per-decade",
        type=int,
        default=theory.BASES_PER_DECADE,
        metavar="N",
        help="grid of the lower bound on the base (default: %(default)s)",
    )
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the figures, as a table or as JSON; return the exit status.

    Raises:
        SpecError: a value is missing or makes no sense.
        DataError: the model's config.json cannot be read.
    """
    setting, notes = _setting(args)
    if setting.head_dim > MOST_DIMENSIONS:
        raise SpecError(f"--head-dim must be {MOST_DIMENSIONS:,} or less, got {setting.head_dim}")
    if args.bases_per_decade > MOST_BASES:
        raise SpecError(
            f"--bases-per-decade must be {MOST_BASES:,} or less, got {args.bases_per_decade}: the "
            "scan takes seconds for a thousand"
        )
    facts = _laws(setting)
    rows = _law_rows(setting, facts)
    if args.target_length is not None:
        facts |= _target(setting, parse_length(args.target_length), args.bases_per_decade)
        rows += _target_rows(setting, facts)
    if args.json:
        print(json.dumps(asdict(setting) | facts | {"notes": notes}, indent=2, allow_nan=False))
    else:
        _print_table(setting, rows)
        for note in notes:
            print(f"note: {shown(note)}")
    return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Setting:
    head_dim: int
    train_length: int
    tune_length: int
    rope_theta: float
    pretrain_theta: float


def _setting(args: argparse.Namespace) -> tuple[_Setting, list[str]]:
    """Put the flags and the model's config together, flags first; also return notes on them."""
    config = None if args.model is None else _config(args.model)

    def given_or(value: _T | None, flag: str, name: str, what: str) -> _T:
        if value is not None:
            return value
        if config is None:
            raise SpecError(f"{flag} is missing: give it, or take it from a model with --model DIR")
        if config.differs_by_layer and name != "train_length":
            raise SpecError(
                f"{config.where} has RoPE parameters for each type of layer: choose with {flag}"
            )
        read: _T | None = getattr(config, name)
        if read is None:
            raise SpecError(f"{config.where} has no {what}: give {flag}")
        return read

    given_train = None if args.train_length is None else parse_length(args.train_length)
    train_length = given_or(
        given_train, "--train-length", "train_length", "max_position_embeddings"
    )
    pretrain_theta = _PRETRAIN_THETA if args.pretrain_theta is None else args.pretrain_theta
    own = pretrain_theta if config is None else None
    rope_theta = args.rope_theta if args.rope_theta is not None else own
    rope_theta = given_or(rope_theta, "--rope-theta", "rope_theta", "rope_theta")
    sizes = "head_dim, nor hidden_size and num_attention_heads"
    setting = _Setting(
        head_dim=given_or(args.head_dim, "--head-dim", "rotary_dim", sizes),
        train_length=train_length,
        tune_length=train_length if args.tune_length is None else parse_length(args.tune_length),
        rope_theta=rope_theta,
        pretrain_theta=pretrain_theta,
    )

    notes = []
    if train_length > theory.TWO_PI * pretrain_theta:
        notes.append(
            "every pair turns fully in pre-training: the critical dimension is capped at head_dim, "
            "a case that the laws do not treat"
        )
    if config is not None:
        if given_train is None:
            notes.append(
                f"train_length {train_length} is the config's max_position_embeddings; "
                "if pre-training had another length, give --train-length and --tune-length"
            )
        if args.pretrain_theta is None and rope_theta != pretrain_theta:
            notes.append(
                f"pretrain_theta is taken as {pretrain_theta:g}, as a config does not say it; "
                "if pre-training had another base, give --pretrain-theta"
            )
        if config.rope_type != "default":
            notes.append(
                f"the config scales its RoPE ({config.rope_type}); the laws are for the base alone"
            )
    return setting, notes


def _config(model: Path) -> RopeConfig:
    if model.is_dir() or model.suffix.lower() != ".gguf":
        return RopeConfig.read(model)
    from rope_eval.backends.checkpoint import check_checkpoint
    from rope_eval.backends.config import rope_config
    from rope_eval.backends.hf.loading import load_config

    check_checkpoint(str(model))
    return rope_config(load_config(str(model)))


def _laws(s: _Setting) -> dict[str, Any]:
    tuned = asdict(s)
    rope_theta = tuned.pop("rope_theta")
    return {
        "critical_dimension": theory.critical_dimension(
            s.head_dim, s.train_length, pretrain_theta=s.pretrain_theta
        ),
        "critical_base": theory.critical_base(
            s.train_length, s.tune_length, pretrain_theta=s.pretrain_theta
        ),
        "extrapolation_bound": theory.extrapolation_bound(rope_theta, **tuned),
        "effective_dimension": theory.effective_dimension(rope_theta, **tuned),
        "pivot_bases": list(theory.pivot_bases(s.tune_length)),
    }


def _target(s: _Setting, target_length: int, bases_per_decade: int) -> dict[str, Any]:
    return {
        "target_length": target_length,
        "smallest_base": theory.smallest_base_for(
            target_length, train_length=s.train_length, pretrain_theta=s.pretrain_theta
        ),
        "base_lower_bound": theory.base_lower_bound(
            target_length, s.head_dim, bases_per_decade=bases_per_decade
        ),
        "bases_per_decade": bases_per_decade,
        "published_base_lower_bound": theory.published_base_bound(target_length, s.head_dim),
        "first_negative": theory.first_negative(s.rope_theta, target_length, s.head_dim),
    }


def _law_rows(s: _Setting, facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    pairs, trained = s.head_dim // 2, facts["critical_dimension"] // 2
    pretrained = theory.periods(s.pretrain_theta, head_dim=s.head_dim)
    turns = f"pair {trained - 1} in {pretrained[trained - 1]:.0f} tokens"
    if trained < pairs:
        turns += f"; pair {trained} needs {pretrained[trained]:.0f}"
    if s.rope_theta > facts["critical_base"]:
        limit = "2π·rope_theta^(critical dimension/head_dim)"
    else:
        limit = "the tune length, as rope_theta is not above the critical base"
        below = sum(s.rope_theta < pivot for pivot in facts["pivot_bases"])
        if below:
            part = ("a quarter of a period", "half a period", "a full period")[below - 1]
            limit += f"; exceeded in practice, as every pair saw {part}"
    return [
        (
            "critical dimension",
            str(facts["critical_dimension"]),
            f"{trained} of {pairs} pairs turn fully in pre-training ({turns})",
        ),
        (
            "  after tuning",
            str(facts["effective_dimension"]),
            f"{facts['effective_dimension'] // 2} of {pairs} pairs",
        ),
        (
            "critical base",
            f"{facts['critical_base']:.0f}",
            "only above it does the bound grow with the base",
        ),
        ("extrapolation bound", f"{facts['extrapolation_bound']:.0f}", f"tokens: {limit}"),
        (
            "pivot bases",
            " ".join(f"{pivot:.0f}" for pivot in facts["pivot_bases"]),
            "below them every pair sees a quarter, half, full period in tuning",
        ),
    ]


def _target_rows(s: _Setting, facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    scanned, published = facts["base_lower_bound"], facts["published_base_lower_bound"]
    first = facts["first_negative"]
    grid = f"scan of {facts['bases_per_decade']} bases a decade, up to {theory.MAX_BASE:.0e}"
    return [
        ("target length", str(facts["target_length"]), "tokens"),
        (
            "smallest base",
            f"{facts['smallest_base']:.0f}",
            "its extrapolation bound reaches the target length",
        ),
        (
            "lower bound on base",
            "none" if scanned is None else f"{scanned:.3g}",
            grid + ("" if published is None else f"; published: {published:.2g}"),
        ),
        (
            "first B(m) < 0",
            "none" if first is None else str(first),
            f"with rope_theta {s.rope_theta:g}: "
            + (
                "up to the target length" if first is None else "retrieval is at risk from there on"
            ),
        ),
    ]


def _print_table(setting: _Setting, rows: list[tuple[str, str, str]]) -> None:
    print(" · ".join(f"{name} {value:.12g}" for name, value in asdict(setting).items()))
    print()
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, value, meaning in rows:
        print(f"{name:<{widths[0]}}  {value:>{widths[1]}}  {meaning}")
