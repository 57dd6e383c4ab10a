"""How numbers and other values read in the report."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping

import numpy as np

MISSING = "–"


def is_number(value: object) -> bool:
    """Whether a value is a real number (Python's or NumPy's) and not a truth value."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def format_cell(value: object) -> str:
    """The text of a table cell.

    Args:
        value: A number (floats get four significant digits, trailing zeros kept so that a
            column lines up; whole numbers get thousands separators) or anything else.

    Returns:
        Plain text, not escaped.
    """
    if not is_number(value):
        return format_detail(value)
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    number = float(value)
    if number == 0 or not math.isfinite(number):
        return format_detail(number)
    # From 999.95 on, four digits round to 1000.
    if 999.95 <= abs(number) < 1e9:
        return f"{number:,.0f}"
    return f"{number:#.4g}"


def format_detail(value: object) -> str:
    """The text of a value in the list of details.

    Args:
        value: Anything. Floats get four significant digits, whole numbers are left as they are
            (a seed has no thousands), mappings and sequences are spelled out.

    Returns:
        Plain text, not escaped.
    """
    if value is None:
        return MISSING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if is_number(value) and not isinstance(value, numbers.Integral):
        return "NaN" if math.isnan(value) else f"{float(value):.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {format_detail(item)}" for key, item in value.items()) or MISSING
    if isinstance(value, list | tuple):
        return ", ".join(format_detail(item) for item in value) or MISSING
    return str(value)
