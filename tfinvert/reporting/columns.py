"""Display of tables: labels of columns, and rows as text.

Tables have snake_case columns, and code refers to those alone. A column without an entry in
`LABELS` is displayed with spaces for underscores. The column of a standard error has the name of
its value's column and `_se`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

LABELS = {
    "active_units": "fraction of active units",
    "brightness_coverage": "coverage of brightness",
    "brightness_residual": "deviation of brightness",
    "brightness_std": "predicted deviation of brightness",
    "center_error": "error of the centre (widths)",
    "chroma": "chroma (of the photographs')",
    "coarse_r2": "coarse R²",
    "color": "colour",
    "color_coverage": "coverage of colour",
    "color_error": "colour error",
    "color_residual": "deviation of colour",
    "color_std": "predicted deviation of colour",
    "constant_chroma": "chroma that stays constant",
    "correlation_gain_se": "standard error of the difference",
    "coverage": "coverage of one deviation",
    "crossfade_score": "cross-fade score",
    "distance": "distance to the photograph",
    "distance_between_units": "distance between units (N)",
    "distance_from_zeros": "distance from zeros (N)",
    "distance_to_all": "distance to the reconstruction from all classes",
    "diversity": "mean distance between two images",
    "draws_se": "standard error over draws",
    "edges_residual": "deviation of edges",
    "edges_std": "predicted deviation of edges",
    "equivariance": "equivariance score",
    "error_rise": "rise of the error",
    "feature_change": "change of the feature",
    "fixed_fraction": "fraction of fixed points",
    "fraction_kept": "fraction of keypoints kept",
    "frechet_distance": "Fréchet distance",
    "hue_error": "hue error (degrees)",
    "image_contrast": "contrast of the images",
    "image_frechet_distance": "Fréchet distance of the images",
    "lpips": "LPIPS",
    "normalized_error": "normalised error",
    "other_correlation": "correlation with other classes",
    "own_correlation": "correlation with own class",
    "own_percentile": "percentile of own class",
    "photograph_change": "change of the photographs (N)",
    "pooled_hue_error": "hue error of all photographs together (degrees)",
    "position_error": "position error (widths)",
    "psnr": "PSNR (dB)",
    "reconstruction_change": "change of the reconstructions (N)",
    "reconstruction_contrast": "contrast of the reconstructions",
    "rotating_chroma": "chroma that rotates with the object",
    "same_class": "same predicted class",
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
