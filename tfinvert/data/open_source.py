"""`--data` values → sources."""

from tfinvert.config.choices import SOURCE_FORMATS
from tfinvert.data.folder import ImageFolder
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.photos import NAME, Photos
from tfinvert.data.sources import Source
from tfinvert.errors import InputError

SPLITS = ("training", "validation", "all")


def open_source(data: str, part: str = "all", held: DecodedImageCache | None = None) -> Source:
    """The source a `--data` value names.

    Args:
      data: `photos`, `folder:PATH` or `tfds:NAME[/CONFIG]`.
      part: "training", "validation" (what the source itself holds out of training) or "all".
      held: where the images are kept, decoded, for training; None keeps none.

    Raises:
      InputError: the value has another form, there is no such part, or the source cannot be
        opened.
    """
    if part not in SPLITS:
        raise InputError(f"part must be one of {', '.join(SPLITS)}. Received: {part!r}")
    kind, _, rest = data.partition(":")
    if data == NAME:
        return Photos(part)
    if kind == "folder" and rest:
        return ImageFolder(rest, part, held)
    if kind == "tfds" and rest:
        from tfinvert.data.tfds import TfdsSource  # slow to import, and rarely wanted

        return TfdsSource(rest, part, held)
    raise InputError(f"data must be {SOURCE_FORMATS}. Received: {data!r}")
