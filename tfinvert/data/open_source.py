"""Opens the image source that a `--data` value names."""

from tfinvert.config.choices import SOURCE_FORMATS
from tfinvert.data.folder import ImageFolder
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.mixture import Mixture, divide_cache, parse_mixture
from tfinvert.data.photos import NAME, Photos
from tfinvert.data.sources import Source
from tfinvert.errors import InputError

SPLITS = ("training", "validation", "all")


def open_source(
    data: str, split: str = "all", image_cache: DecodedImageCache | None = None
) -> Source:
    """Opens an image source.

    Args:
      data: `photos`, `folder:PATH`, `tfds:NAME[/CONFIG]` or, for a mixture of these,
        `mix:SHARE:SOURCE+SHARE:SOURCE`.
      split: "training", "validation" (the images that the source holds out from training) or
        "all".
      image_cache: the cache of decoded images, for training; None for no cache.

    Raises:
      InputError: `data` has another form, the split does not exist, or the source cannot be
        opened.
    """
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}. Received: {split!r}")
    kind, _, rest = data.partition(":")
    if data == NAME:
        return Photos(split)
    if kind == "folder" and rest:
        return ImageFolder(rest, split, image_cache)
    if kind == "tfds" and rest:
        from tfinvert.data.tfds import TfdsSource  # slow to import and rarely needed

        return TfdsSource(rest, split, image_cache)
    if kind == "mix" and rest:
        parts = parse_mixture(rest)
        caches = divide_cache(image_cache, len(parts))
        sources = [
            open_source(part.data, split, cache) for part, cache in zip(parts, caches, strict=True)
        ]
        return Mixture(data, parts, sources)
    raise InputError(f"data must be {SOURCE_FORMATS}. Received: {data!r}")
