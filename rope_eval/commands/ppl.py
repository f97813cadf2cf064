"""``rope-eval ppl``: perplexity and accuracy of whole books, under a protocol."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rope_eval.commands.options import LOADING, SETTING, Positive, Size, add_shared
from rope_eval.commands.progress import progress_bar
from rope_eval.errors import SpecError
from rope_eval.lengths import parse_length, parse_lengths
from rope_eval.protocols.perplexity import MEANS, NAMES, PerplexityProtocol
from rope_eval.safe_text import shown
from rope_eval.terminal import remark, say

if TYPE_CHECKING:
    from rope_eval.runner.texts import CumulativeRequest
    from rope_eval.runner.work import Opener

EPILOG = """\
examples:
  rope-eval ppl --model DIR --books builtin --lengths 1k,2k,4k
  rope-eval ppl --model DIR --books val.jsonl.zst --docs 10 --lengths 4k,16k,64k \\
      --rope rope_theta=500,log_scale=true,dynamic_ntk=per_query
  rope-eval ppl --config lab/base-1e6 --books builtin-chapters --lengths 128,512,1k --json
  rope-eval ppl --model DIR --books pg19 --lengths 32k --backend vllm --tensor-parallel-size 4 \\
      --engine '{"gpu_memory_utilization": 0.8}'
  torchrun --standalone --nproc-per-node 8 -m rope_eval ppl --model DIR --books pg19 \\
      --lengths 128k,1m --share tokens

  rope-eval ppl --model DIR --books pg19 --lengths 4k,8k --protocol sliding --tokens 32k
  rope-eval ppl --model DIR --books pg19 --lengths 8k --protocol last --last 256

Protocols (docs/protocols.md says who uses which): cumulative; sliding, windows of each length
--stride apart over the first --tokens of a document; blocks, windows side by side; last, the last
of the first L tokens; longlora, all tokens of sliding windows; longppl, the tokens that a long
context helps. Their numbers do not compare.

A length counts tokens seen, BOS included; k = 1024 and m = 1024². Only documents of at least the
longest length count. Each document is kept in --results as soon as it is scored: what is killed
goes on there, and what is there is not scored again. A document whose score is not a number has
failed: the numbers are those of the others, and the exit status is 1.

--memory-budget counts weights and all that scoring holds where the model computes, not Python and
its libraries (0.4 GiB on a CPU). What does not fit goes to pinned memory beside a GPU, or to a file
in TMPDIR; then chunks get shorter.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "ppl",
        help="perplexity and accuracy of whole books at every length",
        description="Score whole documents under a RoPE setting; one pass serves all lengths.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_shared(parser, *SETTING, "--books")
    add("--lengths", required=True, metavar="LIST", help="tokens seen, such as 4k,8k,16k")
    add("--docs", action=Positive, metavar="N", help="the first N long enough (default: all)")
    add("--protocol", default="cumulative", metavar="NAME", help=f"{', '.join(NAMES)}")
    add("--stride", metavar="N", help="between windows (sliding, longlora: 256; longppl: 1024)")
    add("--mean", metavar="OF", help=f"of sliding: {', '.join(MEANS)} (default: tokens)")
    add("--last", metavar="N", help="how many of the last tokens count (last)")
    add("--tokens", metavar="N", help="of each document, that windows go over")
    add("--truncation", metavar="N", help="tokens of the short context (longppl; default: 4096)")
    add("--alpha", type=float, help="nats that a key token gains at least (longppl; default: 2)")
    add("--beta", type=float, help="its log-probability at least (longppl; default: -2)")
    add("--backend", default="hf", choices=("hf", "vllm"), help="what runs the model (default: hf)")
    add(
        "--tensor-parallel-size",
        action=Positive,
        metavar="N",
        help="GPUs to part the model over (vllm)",
    )
    add("--engine", default="{}", metavar="JSON", help="arguments of vllm.LLM, as a JSON object")
    add("--chunk-size", action=Positive, metavar="N", help="tokens at a time: memory against speed")
    add(
        "--share",
        choices=("documents", "tokens"),
        help="what the processes of torchrun share out: documents (default), or the tokens of each",
    )
    add(
        "--memory-budget",
        action=Size,
        metavar="SIZE",
        help="such as 8GiB: plan what is held where, weights included, and say it",
    )
    add(
        "--offload",
        action="store_true",
        help="read each layer's weights from its safetensors files in its turn",
    )
    add("--strict", action="store_true", help="refuse a setting that changes nothing at --lengths")
    add("--force", action="store_true", help="score again what is already there")
    add_shared(parser, *LOADING, "--results", "--json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure or read the curve, and print it; return the exit status.

    Raises:
        RopeEvalError: of the kind that fits what is wrong.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return _run_shared(args)
    if args.share is not None:
        raise SpecError(
            f"--share {args.share} shares the work out over the processes of a launcher, and this "
            f"is the only one: torchrun --standalone --nproc-per-node 2 -m rope_eval ppl …"
        )
    return _measured(args, _request(args))


def _run_shared(args: argparse.Namespace) -> int:
    """Measure with the other processes of a launcher, of which the first prints and stores."""
    from rope_eval.scoring.processes import joined

    with joined() as processes:
        from rope_eval.runner.shared import Share, Shared

        share: Share = args.share or "documents"
        request = _request(args, shards=processes.size if share == "tokens" else 1)
        if request.loading.backend != "hf":
            raise SpecError(
                f"--backend {request.loading.backend} parts a model over GPUs by itself: give "
                "--tensor-parallel-size, and no launcher"
            )
        for option in ("memory_budget", "offload"):
            if getattr(request.loading, option):
                raise SpecError(
                    f"--{option.replace('_', '-')} is of one process: leave it out, or the launcher"
                )
        if request.protocol.windowed:
            raise SpecError(
                f"--protocol {request.protocol.name} scores windows in one process: leave out the "
                "launcher"
            )
        shared = Shared(processes=processes, share=share)
        if processes.rank:
            return shared.follow(request)
        return shared.finish(_measured(args, request, shared.open))


def _request(args: argparse.Namespace, shards: int = 1) -> CumulativeRequest:
    lengths = parse_lengths(args.lengths)
    engine = _engine(args)
    protocol = _protocol(args)

    from rope_eval.runner.texts import CumulativeRequest
    from rope_eval.scoring.documents import Loading
    from rope_eval.setting import resolve

    setting = resolve(args.model, args.config, args.rope)
    return CumulativeRequest(
        model=setting.checkpoint,
        rope=setting.rope,
        books=args.books,
        lengths=lengths,
        documents=args.docs,
        loading=Loading(
            backend=args.backend,
            dtype=args.dtype,
            device=args.device,
            chunk_size=args.chunk_size,
            trust_remote_code=args.trust_remote_code,
            allow_pickle=args.allow_pickle,
            engine=engine,
            shards=shards,
            memory_budget=args.memory_budget,
            offload=args.offload,
            proof=args.proof == "on",
        ),
        row=args.config,
        protocol=protocol,
    )


def _measured(
    args: argparse.Namespace, request: CumulativeRequest, opener: Opener | None = None
) -> int:
    """Answer a request, print the answer, and return the exit status."""
    from rope_eval import runner
    from rope_eval.results.documents import of_known_shape
    from rope_eval.results.store import DEFAULT_ROOT, Store
    from rope_eval.rope.reach import without_effect

    store = Store(args.results or DEFAULT_ROOT)
    lost: runner.NotKeptError | None = None
    try:
        with progress_bar("loading") as report:
            answer = runner.answer(
                request,
                store,
                force=args.force,
                strict=args.strict,
                progress=report,
                opener=opener,
            )
        measured, from_store = answer.run, not answer.scored
    except runner.NotKeptError as error:
        lost, measured, from_store = error, error.run, False
    with of_known_shape(measured):
        facts = runner.curve(measured) | {"from_store": from_store}
        place = "not kept" if lost else str(store.place(facts["key"]))
        text = json.dumps(facts, indent=2) if args.json else _text(facts, place)
    print(text) if args.json else say(text)
    longest = facts["lengths"][-1]
    if line := without_effect(facts["effective_from"], longest, stated=request.stated):
        remark(f"note: {line}")
    if lost is not None:
        raise lost
    return 1 if facts["failed"] else 0


def _protocol(args: argparse.Namespace) -> PerplexityProtocol:
    """Return the protocol that was asked for."""
    numbers = {
        name: parse_length(value)
        for name in ("stride", "last", "tokens", "truncation")
        if (value := getattr(args, name)) is not None
    }
    return PerplexityProtocol(
        name=args.protocol, mean=args.mean, alpha=args.alpha, beta=args.beta, **numbers
    )


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


def _partly(facts: dict[str, Any]) -> Iterator[str]:
    """Say where a setting is not that of all layers, or stands on a config's own scaling."""
    takes, _, layers = (facts["layers"] or "").partition(" of ")
    if facts["rope"] and takes != layers:
        yield f"layers {takes} of {layers} take the setting; the others are as the checkpoint says"
    if facts["rope"] and facts["scaling"] not in (None, "default"):
        yield f"config its {facts['scaling']} scaling is kept, under the setting"


def _memory(facts: dict[str, Any]) -> Iterator[str]:
    """Say what was held where, if that was planned, or that memory ran out."""
    from rope_eval.scoring.memory import memory_line

    memory = facts["memory"] or {}
    if "budget" in memory:
        yield f"memory {memory_line(memory)}"
    if memory.get("ran_out"):
        yield f"memory it ran out: chunks of {memory['chunk_size']} tokens"


def _text(facts: dict[str, Any], place: str) -> str:
    from rope_eval.report.tables import curve_table
    from rope_eval.rope import laws
    from rope_eval.rope.spec import RopeSpec

    bound = facts["extrapolation_bound"]
    documents = facts["documents"]
    return "\n".join(
        (
            f"model  {shown(facts['model'])}",
            f"rope   {RopeSpec.from_dict(facts['rope'])}",
            f"bound  {f'{bound:.0f} tokens' if bound else 'none: ' + facts['no_bound']}",
            *(f"       {shown(line)}" for line in laws.lines(facts["laws"])),
            *_partly(facts),
            *_memory(facts),
            f"books  {shown(facts['books'])}: {documents} document{'' if documents == 1 else 's'}, "
            f"{facts['tokens']} scored {facts['unit']}",
            f"protocol {facts['protocol']}",
            *(f"failed {shown(one['error'])}" for one in facts["failed"]),
            "",
            curve_table(facts),
            "",
            f"run    {shown(place)}{', from the store' if facts['from_store'] else ''}",
        )
    )
