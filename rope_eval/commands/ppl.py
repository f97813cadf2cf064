"""``rope-eval ppl``: cumulative perplexity and accuracy of whole books."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rope_eval.commands.progress import progress_bar
from rope_eval.errors import SpecError
from rope_eval.lengths import parse_lengths
from rope_eval.setting import model_and_rope

EPILOG = """\
examples:
  rope-eval ppl --model DIR --books builtin --lengths 1k,2k,4k
  rope-eval ppl --model DIR --books val.jsonl.zst --docs 10 --lengths 4k,16k,64k \\
      --rope rope_theta=500,log_scale=true,dynamic_ntk=per_query,tune_length=16384
  rope-eval ppl --config lab/base-1e6 --books builtin-chapters --lengths 128,512,1k --json
  rope-eval ppl --model DIR --books pg19 --lengths 32k --backend vllm --tensor-parallel-size 4 \\
      --engine '{"gpu_memory_utilization": 0.8}'

A length counts tokens seen, BOS included; k = 1024 and m = 1024². Only documents of at least the
longest length count. Results are kept in --results, and the same question is read from there.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "ppl",
        help="cumulative perplexity and accuracy of whole books at every length",
        description="Score whole documents under a RoPE setting, in one pass for all lengths.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", metavar="DIR", help="a model directory, or a name on the hub")
    add("--config", metavar="NAME", help="a row of the catalogue, see `rope-eval list`")
    add(
        "--books",
        default="builtin",
        metavar="SRC",
        help="builtin, builtin-chapters, pg19, a folder of .txt, a .txt or .jsonl[.gz|.zst] file "
        "(default: builtin)",
    )
    add("--lengths", required=True, metavar="LIST", help="tokens seen, such as 4k,8k,16k")
    add("--rope", default="", metavar="SPEC", help="RopeSpec fields, such as rope_theta=500")
    add("--docs", type=int, metavar="N", help="the first N long enough documents (default: all)")
    add("--backend", default="hf", choices=("hf", "vllm"), help="what runs the model (default: hf)")
    add("--tensor-parallel-size", type=int, metavar="N", help="GPUs to part the model over (vllm)")
    add("--engine", default="{}", metavar="JSON", help="arguments of vllm.LLM, as a JSON object")
    add("--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    add("--device", help="as in PyTorch (default: CUDA where there is one)")
    add("--chunk-size", type=int, metavar="N", help="tokens at a time: memory against speed")
    add("--trust-remote-code", action="store_true", help="run code that comes with the model")
    add("--allow-pickle", action="store_true", help="load weights that are not safetensors")
    add("--results", type=Path, metavar="DIR", help="where runs are kept (default: results/runs)")
    add("--force", action="store_true", help="score again what is already there")
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure or read the curve, and print it; return the exit status.

    Raises:
        RopeEvalError: of the kind that fits what is wrong.
    """
    lengths = parse_lengths(args.lengths)
    for name in ("docs", "chunk_size", "tensor_parallel_size"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise SpecError(
                f"--{name.replace('_', '-')} must be 1 or more, got {getattr(args, name)}"
            )
    model, rope = model_and_rope(args.config, args.model, args.rope)
    engine = _engine(args)

    from rope_eval import runner
    from rope_eval.results.store import DEFAULT_ROOT, Store
    from rope_eval.scoring.documents import Loading

    request = runner.CumulativeRequest(
        model=model,
        rope=rope,
        books=args.books,
        lengths=tuple(lengths),
        documents=args.docs,
        loading=Loading(
            backend=args.backend,
            dtype=args.dtype,
            device=args.device,
            chunk_size=args.chunk_size,
            trust_remote_code=args.trust_remote_code,
            allow_pickle=args.allow_pickle,
            engine=engine,
        ),
    )
    store = Store(args.results or DEFAULT_ROOT)
    with progress_bar("loading") as report:
        run = runner.measure(request, store, force=args.force, progress=report)
    facts = runner.curve(run)
    print(json.dumps(facts, indent=2) if args.json else _text(facts, store.root))
    return 0


def _engine(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `vllm.LLM` that are not the model's own."""
    try:
        engine = json.loads(args.engine)
    except ValueError as error:
        raise SpecError(f"--engine is no JSON ({error}): {args.engine!r}") from None
    if not isinstance(engine, dict):
        raise SpecError(f"--engine must be a JSON object, got {args.engine!r}")
    if args.tensor_parallel_size is not None:
        engine["tensor_parallel_size"] = args.tensor_parallel_size
    return engine


def _text(facts: dict[str, Any], root: Path) -> str:
    from rope_eval.report.tables import curve_table
    from rope_eval.rope.spec import RopeSpec

    bound = facts["extrapolation_bound"]
    documents = facts["documents"]
    return "\n".join(
        (
            f"model  {facts['model']}",
            f"rope   {RopeSpec.from_dict(facts['rope'])}",
            f"bound  {f'{bound:.0f} tokens' if bound else 'unknown: the config has no length'}",
            f"books  {facts['books']}: {documents} document{'' if documents == 1 else 's'}, "
            f"{facts['tokens']} scored tokens",
            "",
            curve_table(facts),
            "",
            f"run    {root / facts['key']}",
        )
    )
