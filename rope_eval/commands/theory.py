"""``rope-eval theory``: what the laws say of a model's base and lengths.

Needs the standard library alone: a model's config.json is read as JSON. Only a GGUF file is read
with transformers, and a name on the hub asked of huggingface-hub.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from rope_eval import theory
from rope_eval.commands.meaning import meaning
from rope_eval.commands.options import add_shared
from rope_eval.commands.theory_more import More, disturbed, feasible, fitted, slowed
from rope_eval.commands.theory_setting import TheorySetting, facts_of
from rope_eval.errors import SpecError
from rope_eval.lengths import parse_length
from rope_eval.rope import laws
from rope_eval.rope.facts import Facts
from rope_eval.safe_text import shown
from rope_eval.terminal import say

MOST_DIMENSIONS = 1 << 14
MOST_BASES = 5_000

_EPILOG = """\
examples:
  rope-eval theory --head-dim 128 --train-length 4k --pretrain-theta 10000
  rope-eval theory --head-dim 128 --train-length 4k --pretrain-theta 10000 \\
      --tune-length 16k --rope-theta 1000000
  rope-eval theory --model DIR --target-length 128k --json
  rope-eval theory --config lab/base-1e6 --target-length 1k
  rope-eval theory --model DIR --measured 116k   # which critical dimension that would be

Of a model, what is not given is what is known of its family, or what its config says: a note says
which. Of a row of the catalogue, it is what the row says, and then what its checkpoint does.
Lengths are in tokens; k = 1024 and m = 1024². Sources: arXiv 2310.05209 for the laws, arXiv
2405.14591 for the lower bound on the base; those of other rows stand in them.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "theory",
        help="critical dimension and base, bound, the bases for a length",
        description="Print what the scaling laws of RoPE say of a base and of lengths.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_shared(
        parser,
        "--model",
        help="take what is not given from its config: a directory, a "
        "GGUF file, or a name on the hub",
    )
    add_shared(parser, "--config")
    add("--head-dim", type=int, metavar="D", help="rotary dimension of a head")
    add("--train-length", metavar="LENGTH", help="length of the pre-training")
    add("--tune-length", metavar="LENGTH", help="length of the tuning (default: train length)")
    add("--rope-theta", type=float, metavar="BASE", help="base (default: the pre-training one)")
    add(
        "--pretrain-theta",
        type=float,
        metavar="BASE",
        help="base of the pre-training",
    )
    add("--target-length", metavar="LENGTH", help="also print the bases that a context needs")
    add(
        "--bases-per-decade",
        type=int,
        default=theory.BASES_PER_DECADE,
        metavar="N",
        help="grid of the lower bound on the base (default: %(default)s)",
    )
    add(
        "--measured",
        action="append",
        default=[],
        metavar="LENGTH",
        help="a measured max context, or BASE=LENGTH, to fit a critical dimension to; repeatable",
    )
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the figures, as a table or as JSON; return the exit status.

    Raises:
        SpecError: a value is missing or makes no sense.
        DataError: there is no such row, or the model's config.json cannot be read.
    """
    if args.bases_per_decade > MOST_BASES:
        raise SpecError(
            f"--bases-per-decade must be {MOST_BASES:,} or less, got {args.bases_per_decade}: the "
            "scan takes seconds for a thousand"
        )
    checkpoint, where = facts_of(args)
    setting = TheorySetting.of(checkpoint)
    if setting.head_dim > MOST_DIMENSIONS:
        raise SpecError(f"--head-dim must be {MOST_DIMENSIONS:,} or less, got {setting.head_dim}")
    facts = _laws(setting, checkpoint)
    rows = _law_rows(setting, facts, checkpoint.doubt)

    s, d = setting, setting.head_dim
    others: list[More] = [
        fitted(
            args.measured, s.rope_theta, head_dim=d, critical_dimension=facts["critical_dimension"]
        ),
        slowed(s.rope_theta, head_dim=d, pretrain_theta=s.pretrain_theta),
    ]
    if args.target_length is not None:
        target = parse_length(args.target_length)
        facts |= _target(s, target, args.bases_per_decade)
        rows += _target_rows(s, facts)
        others += [
            feasible(target, facts["base_lower_bound"], s.rope_theta, head_dim=d),
            disturbed(
                target,
                s.rope_theta,
                head_dim=d,
                train_length=s.train_length,
                pretrain_theta=s.pretrain_theta,
            ),
        ]
    for found, lines in others:
        facts |= found
        rows += lines
    notes = [f"{line} ({where})" for line in laws.lines(checkpoint.laws.to_dict())]
    advice = meaning(asdict(setting) | facts, checkpoint.doubt)
    if args.json:
        more = {"meaning": advice, "laws": checkpoint.laws.to_dict(), "notes": notes}
        print(json.dumps(asdict(setting) | facts | more, indent=2, allow_nan=False))
    else:
        _print_table(setting, rows)
        say(f"\n{advice}")
        for note in notes:
            say(f"note: {shown(note)}")
    return 0


def _laws(s: TheorySetting, checkpoint: Facts) -> dict[str, Any]:
    tuned = asdict(s)
    rope_theta = tuned.pop("rope_theta")
    doubt = checkpoint.doubt
    return {
        "critical_dimension": checkpoint.critical_dimension,
        "critical_base": theory.critical_base(
            s.train_length, s.tune_length, pretrain_theta=s.pretrain_theta
        ),
        "extrapolation_bound": None if doubt else theory.extrapolation_bound(rope_theta, **tuned),
        "effective_dimension": None if doubt else theory.effective_dimension(rope_theta, **tuned),
        "pivot_bases": list(theory.pivot_bases(s.tune_length)),
    }


def _target(s: TheorySetting, target_length: int, bases_per_decade: int) -> dict[str, Any]:
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


def _law_rows(s: TheorySetting, facts: dict[str, Any], doubt: str) -> list[tuple[str, str, str]]:
    pairs, trained = s.head_dim // 2, facts["critical_dimension"] // 2
    pretrained = theory.periods(s.pretrain_theta, head_dim=s.head_dim)
    turns = f"pair {trained - 1} in {pretrained[trained - 1]:.0f} tokens"
    if trained < pairs:
        turns += f"; pair {trained} needs {pretrained[trained]:.0f}"
    bound, effective = facts["extrapolation_bound"], facts["effective_dimension"]
    if bound is None:
        limit = doubt
    elif s.rope_theta > facts["critical_base"]:
        limit = "tokens: 2π·rope_theta^(critical dimension/head_dim)"
    else:
        limit = "tokens: the tune length, as rope_theta is not above the critical base"
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
            "none" if effective is None else str(effective),
            doubt if effective is None else f"{effective // 2} of {pairs} pairs",
        ),
        (
            "critical base",
            f"{facts['critical_base']:.0f}",
            "only above it does the bound grow with the base",
        ),
        ("extrapolation bound", "none" if bound is None else f"{bound:.0f}", limit),
        (
            "pivot bases",
            " ".join(f"{pivot:.0f}" for pivot in facts["pivot_bases"]),
            "below them every pair sees a quarter, half, full period in tuning",
        ),
    ]


def _target_rows(s: TheorySetting, facts: dict[str, Any]) -> list[tuple[str, str, str]]:
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


def _print_table(setting: TheorySetting, rows: list[tuple[str, str, str]]) -> None:
    say(" · ".join(f"{name} {value:.12g}" for name, value in asdict(setting).items()))
    say("")
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, value, words in rows:
        say(f"{name:<{widths[0]}}  {value:>{widths[1]}}  {words}")
