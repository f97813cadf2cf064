"""What any claims must do, wherever they lie."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rope_eval.plans.claiming import Claiming


def check_one_owner(claims: Claiming, others: Claiming) -> None:
    """Take and give back units as two processes; after it none is held."""
    with claims.claim("a") as ours, others.claim("a") as theirs, others.claim("b") as other:
        assert (ours, theirs, other) == (True, False, True)
        assert sorted(claims.held()) == ["a", "b"]
    assert claims.held() == []
    with others.claim("a") as ours:
        assert ours


def winners(make: Callable[[], Claiming]) -> int:
    """Return how many of eight that want one unit at the same moment get it."""
    got, gate = [], threading.Barrier(8)

    def take() -> None:
        claims = make()
        gate.wait()
        with claims.claim("a") as ours:
            got.append(ours)
            gate.wait()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(got)
