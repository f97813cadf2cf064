"""How a rotary base, or a large number, is written where there is little room."""

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


def scaled(number: float) -> str:
    """Return a number with three digits and a decimal prefix, ready for a unit.

    >>> scaled(8_030_000_000), scaled(12.34), scaled(999.7)
    ('8.03 G', '12.3 ', '1 k')
    """
    for prefix in ("", "k", "M", "G", "T", "P"):
        if number < 999.5:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.3g} E"
