"""Display of tables: labels of columns, and rows as text.

Tables have snake_case columns, and code refers to those alone. A column without an entry in
`LABELS` is displayed with spaces for underscores. The column of a standard error has the name of
its value's column and `_se`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

LABELS = {
    "center_error": "error of the centre (widths)",
    "chroma": "chroma (of the photographs')",
    "coarse_r2": "coarse R²",
    "constant_chroma": "chroma that stays constant",
    "distance": "distance to the photograph",
    "distance_to_all": "distance to the reconstruction from all classes",
    "diversity": "mean distance between two images",
    "draws_se": "standard error over draws",
    "equivariance": "equivariance score",
    "error_rise": "rise of the error",
    "feature_change": "change of the feature",
    "fixed_fraction": "fraction of fixed points",
    "hue_error": "hue error (degrees)",
    "lpips": "LPIPS",
    "normalized_error": "normalised error",
    "pooled_hue_error": "hue error of all photographs together (degrees)",
    "position_error": "position error (widths)",
    "psnr": "PSNR (dB)",
    "rotating_chroma": "chroma that rotates with the object",
    "ssim": "SSIM",
    "top": "top classes",
}
_STANDARD_ERROR = "_se"


def column_label(column: str) -> str:
    """The label of a column, for example "standard error of the hue error (degrees)"."""
    value = column.removesuffix(_STANDARD_ERROR)
    if column in LABELS or value == column:
        return LABELS.get(column, column.replace("_", " "))
    return f"standard error of the {column_label(value)}"


def label_columns(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with labels in place of column names."""
    return [{column_label(column): value for column, value in row.items()} for row in rows]


def format_rows(
    rows: Iterable[Mapping[str, Any]] | pd.DataFrame, template: str, separator: str = ", "
) -> str:
    """Rows as text, for example by "{label} {error:.3f}", whose fields are columns."""
    rows = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    return separator.join(template.format_map(row) for row in rows)
