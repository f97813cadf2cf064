"""``rope-eval attention``: attention scores before and beyond the critical dimension."""

from __future__ import annotations

import argparse
import functools
import json
import operator
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.commands.options import LOADING, SETTING, Positive, add_shared
from rope_eval.commands.progress import Report, progress_bar
from rope_eval.errors import SpecError
from rope_eval.files import check_output
from rope_eval.lengths import parse_length
from rope_eval.rope import laws
from rope_eval.safe_text import shown

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from rope_eval.data.books import Document
    from rope_eval.rope.spec import RopeSpec
    from rope_eval.scoring.attention_profile import AttentionProfile

EPILOG = """\
examples:
  rope-eval attention --model DIR --length 16k
  rope-eval attention --model DIR --length 16k --rope dynamic_ntk=per_query --output figure.png
  rope-eval attention --config lab/base-1e6 --length 2k
  rope-eval attention --model DIR --books builtin-chapters --documents 4 --length 1k --json

The score is q·k times the softmax scale, before the softmax. Its mean over queries, heads and
layers is split at the critical dimension of arXiv 2310.05209, as in its Figs. 6, 8 and 10.
"""
MOST_BINS = 10_000
FORMATS = (".png", ".pdf", ".svg")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "attention",
        help="mean attention scores against relative position",
        description="Measure attention scores, before the softmax, by relative position: those of "
        "the dimensions before the critical one, and those from it on.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_shared(parser, *SETTING, "--books")
    add("--length", required=True, metavar="N", help="tokens of each document, such as 16k")
    add(
        "--documents",
        action=Positive,
        default=1,
        metavar="N",
        help="the first N long enough (default: 1)",
    )
    add("--bins", action=Positive, default=32, metavar="N", help="of distance (default: 32)")
    add("--spacing", default="log", choices=("log", "linear"), help="of the bins (default: log)")
    add("--output", type=Path, metavar="FILE", help="also draw a figure: .png, .pdf or .svg")
    add_shared(parser, *LOADING)
    add_shared(parser, "--json", help="print JSON, with the layers one by one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print, and draw where it is asked for; return the exit status.

    Raises:
        RopeEvalError: of the kind that fits what is wrong.
    """
    length = parse_length(args.length)
    if length < 2:
        raise SpecError(f"--length must be 2 tokens or more, got {length}")
    if args.bins > MOST_BINS:
        raise SpecError(f"--bins must be {MOST_BINS:,} or fewer, got {args.bins}")
    if args.device == "meta":
        raise SpecError("--device meta has shapes and no numbers: there is nothing to measure")
    if args.output is not None:
        _check_output(args.output)

    from rope_eval.setting import resolve

    setting = resolve(args.model, args.config, args.rope)
    name, rope = setting.checkpoint, setting.rope

    from rope_eval.backends.hf.loading import check_checkpoint, load_model, load_tokenizer
    from rope_eval.report.figures.attention import plot_attention
    from rope_eval.report.tables import attention_table
    from rope_eval.rope.reach import without_effect
    from rope_eval.scoring.books import long_enough

    safety = {
        "trust_remote_code": args.trust_remote_code,
        "allow_pickle": args.allow_pickle,
    }
    check_checkpoint(name, **safety)
    tokenizer = load_tokenizer(name, trust_remote_code=args.trust_remote_code)
    documents = long_enough(args.books, length, tokenizer, args.documents)
    model = load_model(name, dtype=args.dtype, device=args.device, **safety)
    with progress_bar("loading") as report:
        facts = _measured(name, model, rope, args, documents, report)
    if args.output is not None:
        plot_attention(facts, args.output)
    if line := without_effect(facts["effective_from"], length):
        print(f"note: {line}", file=sys.stderr)
    if args.json:
        print(json.dumps(facts, indent=2))
        return 0
    bound = facts["extrapolation_bound"]
    print(f"model  {shown(facts['model'])}")
    print(f"rope   {facts['setting']}")
    print(
        f"bound  {'none' if bound is None else f'{bound:.0f} tokens'}; critical dimension "
        f"{facts['critical_dimension']} of {facts['rotary_dim']}"
    )
    for line in laws.lines(facts["laws"]):
        print(f"       {shown(line)}")
    books = shown(f"{args.books}: {', '.join(facts['documents'])}")
    print(f"books  {books}, {length} tokens each\n")
    print(attention_table(facts))
    return 0


def _check_output(file: Path) -> None:
    if file.suffix not in FORMATS:
        raise SpecError(f"--output must end in {', '.join(FORMATS)}, got {file}")
    check_output(file)


def _measured(
    name: str,
    model: PreTrainedModel,
    rope: RopeSpec,
    args: argparse.Namespace,
    documents: list[tuple[Document, Tensor]],
    report: Report,
) -> dict[str, Any]:
    """Return what was measured, as plain JSON values."""
    from rope_eval.backends.hf.attention import rotary_of
    from rope_eval.backends.hf.patch import patched
    from rope_eval.backends.hf.proof import proof_of
    from rope_eval.results.identity import model_label
    from rope_eval.scoring.attention_profile import bin_edges
    from rope_eval.scoring.attention_scores import attention_by_distance

    length = len(documents[0][1])
    proof = proof_of(model, rope, args.proof)
    with patched(model, rope):
        rotary = rotary_of(model)
        profiles = [
            attention_by_distance(
                model,
                ids,
                first_pair_beyond=rotary.critical_dimension // 2,
                bin_edges=bin_edges(length - 1, args.bins, args.spacing),
                progress=lambda part, i=i, title=title: report(  # type: ignore[misc]
                    title, (i + part) / len(documents)
                ),
            )
            for i, (title, ids) in enumerate(documents)
        ]
    profile = functools.reduce(operator.add, profiles)
    return {
        "model": model_label(name),
        "rope": rope.to_dict(),
        "setting": str(rope),
        "proof": proof,
        "books": args.books,
        "documents": [document.name for document, _ in documents],
        "length": length,
        "train_length": rotary.train_length,
        "extrapolation_bound": rotary.bound[0],
        "laws": rotary.laws.to_dict(),
        "effective_from": rotary.effective_from,
        "critical_dimension": rotary.critical_dimension,
        "rotary_dim": rotary.geometry.rotary_dim,
        "bins": _bins(profile),
        "layers": [_bins(profile.layer(i)) for i in range(len(profile.sums))],
    }


def _bins(profile: AttentionProfile) -> list[dict[str, Any]]:
    from rope_eval.scoring.attention_profile import PARTS

    mean, std = profile.mean(), profile.std()
    scores = profile.counts * profile.sums.shape[0] * profile.sums.shape[1]
    return [
        {
            "from": int(profile.bin_edges[i]),
            "to": int(profile.bin_edges[i + 1]) - 1,
            "count": int(scores[i]),
        }
        | {
            part: {"mean": float(m[i]), "std": float(s[i])}
            for part, m, s in zip(PARTS, mean, std, strict=True)
        }
        for i in range(len(scores))
    ]
