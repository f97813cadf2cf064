"""``rope-eval attention``: attention scores before and beyond the critical dimension."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rope_eval.commands.options import LOADING, SETTING, Positive, add_shared
from rope_eval.commands.progress import progress_bar
from rope_eval.errors import SpecError
from rope_eval.files import check_output
from rope_eval.lengths import parse_length
from rope_eval.rope import laws
from rope_eval.safe_text import shown
from rope_eval.terminal import remark, say

EPILOG = """\
examples:
  rope-eval attention --model DIR --length 16k
  rope-eval attention --model DIR --length 16k --rope dynamic_ntk=per_query --output figure.png
  rope-eval attention --config lab/base-1e6 --length 2k
  rope-eval attention --model DIR --books builtin-chapters --documents 4 --length 1k --json

The score is q·k times the softmax scale, before the softmax. Its mean over queries, heads and
layers is split at the critical dimension of arXiv 2310.05209, as in its Figs. 6, 8 and 10.
"""
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
    from rope_eval.scoring.attention_profile import check_bins

    check_bins(args.bins)
    if args.device == "meta":
        raise SpecError("--device meta has shapes and no numbers: there is nothing to measure")
    if args.output is not None:
        _check_output(args.output)

    from rope_eval.setting import resolve

    setting = resolve(args.model, args.config, args.rope)
    name, rope = setting.checkpoint, setting.rope

    from rope_eval.backends.checkpoint import check_checkpoint

    safety = {
        "trust_remote_code": args.trust_remote_code,
        "allow_pickle": args.allow_pickle,
    }
    check_checkpoint(name, **safety)

    from rope_eval.backends.hf.attention import rotary_of
    from rope_eval.backends.hf.loading import load_model, load_tokenizer
    from rope_eval.backends.hf.patch import patched
    from rope_eval.backends.hf.proof import proof_of
    from rope_eval.report.figures.attention import plot_attention
    from rope_eval.report.tables import attention_table
    from rope_eval.results.identity import model_label
    from rope_eval.rope.reach import without_effect
    from rope_eval.scoring.attention_facts import attention_facts, profile_of
    from rope_eval.scoring.books import long_enough

    tokenizer = load_tokenizer(name, trust_remote_code=args.trust_remote_code)
    documents = long_enough(args.books, length, tokenizer, args.documents)
    model = load_model(name, dtype=args.dtype, device=args.device, **safety)
    proof = proof_of(model, rope, args.proof)
    with progress_bar("loading") as report, patched(model, rope):
        profiles = [
            profile_of(
                model,
                ids,
                bins=args.bins,
                spacing=args.spacing,
                progress=lambda part, i=i, document=document: report(  # type: ignore[misc]
                    document.name, (i + part) / len(documents)
                ),
            )
            for i, (document, ids) in enumerate(documents)
        ]
        facts = {
            "model": model_label(name),
            "rope": rope.to_dict(),
            "setting": str(rope),
            "proof": proof,
            "books": args.books,
            "documents": [document.name for document, _ in documents],
        } | attention_facts(profiles, rotary_of(model), length)
    if args.output is not None:
        plot_attention(facts, args.output)
    if line := without_effect(facts["effective_from"], length, stated=setting.stated):
        remark(f"note: {line}")
    if args.json:
        print(json.dumps(facts, indent=2))
        return 0
    bound = facts["extrapolation_bound"]
    say(f"model  {shown(facts['model'])}")
    say(f"rope   {facts['setting']}")
    say(
        f"bound  {'none' if bound is None else f'{bound:.0f} tokens'}; critical dimension "
        f"{facts['critical_dimension']} of {facts['rotary_dim']}"
    )
    for line in laws.lines(facts["laws"]):
        say(f"       {shown(line)}")
    books = shown(f"{args.books}: {', '.join(facts['documents'])}")
    say(f"books  {books}, {length} tokens each\n")
    print(attention_table(facts))
    return 0


def _check_output(file: Path) -> None:
    if file.suffix not in FORMATS:
        raise SpecError(f"--output must end in {', '.join(FORMATS)}, got {file}")
    check_output(file)
