"""`--data` values → sources."""

from tfinvert.choices import FORMS
from tfinvert.data.folder import Folder
from tfinvert.data.held import Held
from tfinvert.data.photos import NAME, Photos
from tfinvert.data.sources import Source
from tfinvert.errors import InputError

PARTS = ("training", "validation", "all")


def open_source(data: str, part: str = "all", held: Held | None = None) -> Source:
    """The source a `--data` value names.

    Args:
      data: `photos`, `folder:PATH` or `tfds:NAME[/CONFIG]`.
      part: "training", "validation" (what the source itself holds out of training) or "all".
      held: where the images are kept, decoded, for training; None keeps none.

    Raises:
      InputError: the value has another form, there is no such part, or the source cannot be
        opened.
    """
    if part not in PARTS:
        raise InputError(f"part must be one of {', '.join(PARTS)}. Received: {part!r}")
    kind, _, rest = data.partition(":")
    if data == NAME:
        return Photos(part)
    if kind == "folder" and rest:
        return Folder(rest, part, held)
    if kind == "tfds" and rest:
        from tfinvert.data.tfds import Tfds  # slow to import, and rarely wanted

        return Tfds(rest, part, held)
    raise InputError(f"data must be {FORMS}. Received: {data!r}")
