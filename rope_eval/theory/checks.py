"""What the laws take: numbers that make sense, or a `SpecError`."""

from __future__ import annotations

import math
import sys

from rope_eval.errors import SpecError

TWO_PI = 2 * math.pi


def is_int(value: object) -> bool:
    """Whether it is a whole number, and not a truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def checked_base(name: str, value: float) -> float:
    """Check a base: finite and greater than 1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SpecError(f"{name} must be a number, got {value!r}")
    if not 1 < value <= sys.float_info.max:
        raise SpecError(f"{name} must be finite and greater than 1, got {value!r}")
    return float(value)


def checked_head_dim(value: int) -> int:
    """Check a count of rotated dimensions."""
    if not is_int(value) or value < 2 or value % 2:
        raise SpecError(f"head_dim must be an even positive integer, got {value!r}")
    return value


def checked_length(name: str, value: int, *, shortest: int = 7) -> int:
    """Check a length in tokens; 7 is the first above 2π, where the logarithms turn positive."""
    if not is_int(value):
        raise SpecError(f"{name} must be a whole number of tokens, got {value!r}")
    if value < shortest:
        raise SpecError(f"{name} must be at least {shortest} tokens, got {value}")
    return value


def checked_lengths(train_length: int, tune_length: int | None) -> tuple[int, int]:
    """Check T_train and T_tune, by default T_train, which may not be the shorter."""
    train = checked_length("train_length", train_length)
    tune = train if tune_length is None else checked_length("tune_length", tune_length)
    if tune < train:
        raise SpecError(
            f"tune_length must be at least train_length: the law is stated for no other case; "
            f"got tune_length={tune} and train_length={train}"
        )
    return train, tune
