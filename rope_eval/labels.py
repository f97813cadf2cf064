"""How a rotary base is written where there is little room."""

from __future__ import annotations


def base_name(base: float) -> str:
    """Return a base as it stands in the name of a checkpoint: no two bases have the same.

    >>> [base_name(base) for base in (20, 10_000, 300_000, 83_000, 690_000, 81.5)]
    ['20', '1e4', '3e5', '83e3', '69e4', '81.5']
    """
    if base != round(base):
        return repr(float(base))
    digits = f"{base:.0f}"
    zeros = len(digits) - len(digits.rstrip("0"))
    return digits if zeros < 3 else f"{digits[:-zeros]}e{zeros}"


def base_label(base: float) -> str:
    """Return a base as it stands in a table or a figure: to four digits where it is not whole.

    >>> [base_label(base) for base in (20, 326, 3_000, 84_000, 1e6, 81.49)]
    ['20', '326', '3e3', '84e3', '1e6', '81.49']
    """
    return base_name(base) if base == round(base) else f"{base:.4g}"
