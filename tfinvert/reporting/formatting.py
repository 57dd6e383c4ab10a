"""Formatting of numbers and other values in the report."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping

import numpy as np

MISSING = "–"


def is_number(value: object) -> bool:
    """Returns whether a value is a real number (Python's or NumPy's) other than a boolean."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def format_cell(value: object) -> str:
    """Formats a value for a table cell.

    Args:
      value: a number or any other object. Floats get four significant digits, with trailing zeros
        so that columns align; integers get thousands separators.

    Returns:
      Plain text, without HTML escaping.
    """
    if not is_number(value):
        return format_detail(value)
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    number = float(value)
    if number == 0 or not math.isfinite(number):
        return format_detail(number)
    # From 999.95, four digits round to 1000.
    if 999.95 <= abs(number) < 1e9:
        return f"{number:,.0f}"
    return f"{number:#.4g}"


def format_detail(value: object) -> str:
    """Formats a value for the list of details.

    Args:
      value: any object. Floats get four significant digits, integers no thousands separators
        (they may be seeds); mappings and sequences are written out.

    Returns:
      Plain text, without HTML escaping.
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
