"""What a position map costs beside one plain causal call: time, and memory that is linear.

``python benchmarks/position_maps.py`` prints, for each map, its time over that of the plain call on
the same queries and keys, rotation included in both, run by turns on a CPU, the shortest of each;
and how much more memory the process has at its peak. One thread by default: on a machine that does
other work, many short calls of several threads wait for each other longer than a long one does.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import torch

from rope_eval import RopeSpec
from rope_eval.backends.hf.kernels import Scores, causal_attention
from rope_eval.backends.hf.mapped import pieces
from rope_eval.backends.hf.merged import merged_attention
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.rotary import Rotary, rotate

SETTINGS = (
    "rerope_window=512",
    "leaky_rerope_window=512,leaky_rerope_factor=16",
    "self_extend_window=1024,self_extend_group=8",
    "dual_chunk_size=2560",
    "string_shift=1352,string_window=128",
)


def main() -> None:
    """Print a line for each map."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--key-heads", type=int, default=2)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    T, H = given.tokens, given.head_dim
    geometry = RotaryGeometry(head_dim=H, rotary_dim=H, rope_theta=10000.0, train_length=4096)
    q = torch.randn(1, given.heads, T, H)
    k, v = (torch.randn(1, given.key_heads, T, H) for _ in range(2))
    scores = Scores(scale=H**-0.5)
    table = Rotary(RopeSpec(), geometry).table(1.0, T, q.device)

    def plain() -> object:
        return causal_attention(rotate(q, *table), rotate(k, *table), v, scores)

    print(f"{T} tokens, {given.heads} heads of {H}, {torch.get_num_threads()} threads")
    for text in SETTINGS:
        found = list(
            pieces(Rotary(RopeSpec.parse(text), geometry), torch.arange(T)[None], None, None, T, T)
        )

        def mapped(found: list[object] = found) -> object:  # type: ignore[assignment]
            return [_attend(piece, q, k, v, scores) for piece in found]

        plain()
        before = _peak()
        times: dict[Callable[[], object], list[float]] = {plain: [], mapped: []}
        for _ in range(given.repeats):
            for call, taken in times.items():
                start = time.perf_counter()
                call()
                taken.append(time.perf_counter() - start)
        one, other = (min(taken) for taken in times.values())
        print(
            f"{text}: {other / one:.2f} ({one:.2f} s plain, {other:.2f} s mapped; "
            f"{_peak() - before:.0f} MiB more at the peak)",
            flush=True,
        )


def _attend(piece, q, k, v, scores):  # type: ignore[no-untyped-def]
    queries = [rotate(q[:, :, piece.queries], *table) for table in piece.q_tables]
    keys = [rotate(k[:, :, : piece.stop], *table) for table in piece.k_tables]
    value = v[:, :, : piece.stop]
    if piece.regions is None:
        return causal_attention(queries[0], keys[0], value, scores)
    return merged_attention(queries, keys, value, scores, piece.regions, piece.start)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    with torch.inference_mode():
        main()
