"""Where stored features are, and how they belong to photographs, without TensorFlow."""

import dataclasses
from typing import Any

from tfinvert.errors import InputError

MATCHES = ("name", "order")
VIEWS = ("whole", "crop")
MIN_SHARE = 0.9


@dataclasses.dataclass(frozen=True)
class PairsConfig:
    """Stored features of the photographs of a folder.

    Attributes:
      path: the file of the features, see `data.feature_file.FeatureFile`.
      shape: shape of a feature, (n,) or (rows, columns, channels); None for that of the file.
      match: how rows belong to photographs: "name" by file name, "order" in the order of the
        folder's paths.
      view: how a photograph becomes an image: "whole" resizes all of it, "crop" its largest central
        crop with the aspect ratio of the image.
      min_share: smallest share of the photographs that must have a row, and of the rows that must
        have a photograph, in [0, 1].

    Raises:
      InputError: a value is out of range.
    """

    path: str
    shape: tuple[int, ...] | None = None
    match: str = "name"
    view: str = "whole"
    min_share: float = MIN_SHARE

    def __post_init__(self) -> None:
        for name, choices in (("match", MATCHES), ("view", VIEWS)):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"--pairs_{name} must be one of {', '.join(choices)}. "
                    f"Received: {getattr(self, name)!r}"
                )
        if not 0 <= self.min_share <= 1:
            raise InputError(f"--pairs_min_share must be in [0, 1]. Received: {self.min_share}")

    def facts(self) -> dict[str, Any]:
        """Returns the attributes by the names of their flags."""
        values = dataclasses.asdict(self)
        return {"pairs": values.pop("path"), **{f"pairs_{k}": v for k, v in values.items()}}


def parse_shape(text: str) -> tuple[int, ...] | None:
    """Parses a value of `--pairs_shape`, for example "16,16,384"; "" is None.

    Raises:
      InputError: the text has another form.
    """
    sides = text.split(",") if text else []
    if len(sides) not in (0, 1, 3) or not all(side.isdecimal() and int(side) for side in sides):
        raise InputError(
            "--pairs_shape must be the length of a vector, or the ROWS,COLUMNS,CHANNELS of a grid. "
            f"Received: {text!r}"
        )
    return tuple(map(int, sides)) or None
