"""Flags of stored features, which several commands have."""

from absl import flags

from tfinvert.config.stored_pairs import MATCHES, MIN_SHARE, VIEWS, PairsConfig, parse_shape
from tfinvert.errors import InputError

flags.disclaim_key_flags()  # so that --help lists them as flags of the program

FLAGS = flags.FLAGS
_NAMES = ("pairs_match", "pairs_min_share", "pairs_shape", "pairs_view", "validation_pairs")


def define_pairs_flags() -> None:
    """Defines the flags of stored features."""
    flags.DEFINE_string(
        "pairs",
        None,
        "Stored features of the photographs of --data: a .parquet, .csv, .npz, .npy or "
        ".arrayrecord file (docs/pairs.md).",
    )
    flags.DEFINE_enum(
        "pairs_match",
        "name",
        MATCHES,
        "Rows of --pairs belong to photographs by file name, or in the order of the folder's "
        "paths.",
    )
    flags.DEFINE_float(
        "pairs_min_share",
        MIN_SHARE,
        "Smallest share of the photographs that must have a row in --pairs, and of the rows that "
        "must have a photograph.",
    )


def define_pairs_training_flags() -> None:
    """Defines the flags of stored features that an inverter is trained on."""
    define_pairs_flags()
    flags.DEFINE_string(
        "pairs_shape",
        "",
        "Shape of a feature in --pairs: the length of a vector, or ROWS,COLUMNS,CHANNELS of a "
        "grid; the default is the shape in the file.",
    )
    flags.DEFINE_enum(
        "pairs_view",
        "whole",
        VIEWS,
        "Part of a photograph that its feature in --pairs belongs to, which is resized to "
        "--image_size: whole, or the largest central crop.",
    )
    flags.DEFINE_string(
        "validation_pairs", None, "Stored features of the photographs of --validation_data."
    )


def pairs_from_flags() -> PairsConfig | None:
    """The stored features; None without --pairs.

    Raises:
      InputError: a value is out of range, or a flag is given without --pairs.
    """
    defined = [name for name in _NAMES if name in FLAGS]
    if not FLAGS.pairs:
        given = [f"--{x}={FLAGS[x].value}" for x in defined if FLAGS[x].present]
        if given:
            raise InputError(
                f"flags of stored features need --pairs=FILE. Received: {' '.join(given)}"
            )
        return None
    values = {"match": FLAGS.pairs_match, "min_share": FLAGS.pairs_min_share}
    if "pairs_view" in FLAGS:
        values |= {"shape": parse_shape(FLAGS.pairs_shape), "view": FLAGS.pairs_view}
    return PairsConfig(FLAGS.pairs, **values)
