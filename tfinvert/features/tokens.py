"""Outputs `[T, C]`, as of vision transformers: patches back in their grid, or the class token."""

import keras

from tfinvert.errors import InputError

GRID, CLASS = "grid", "class"
UNKNOWN = -1


def tokens_to_grid(
    name: str,
    model: keras.Model,
    seen: tuple[int, int],
    tokens: str = GRID,
    prefix: int = UNKNOWN,
    grid: tuple[int, int] | None = None,
) -> keras.Model:
    """A model whose tokens become a grid or a vector; one without tokens stays as it is.

    Args:
      name: for what is said.
      model: from images to `[B, T, C]`, or to something else.
      seen: (height, width) of what the network sees; patches are square.
      tokens: "grid" for those of the patches, `[B, rows, columns, C]`, or "class" for the first
        one, `[B, C]`.
      prefix: how many tokens come before those of the patches, of the class and registers; -1 for
        as many as the grid leaves, or where that is not known for none or one.
      grid: (rows, columns) of the patches, where it is known.

    Raises:
      InputError: the tokens are no such grid, or none is of the class.
    """
    if tokens not in (GRID, CLASS) or prefix < UNKNOWN:
        raise InputError(
            f"{name}: tokens are {GRID} or {CLASS}, prefix a number of tokens or {UNKNOWN}. "
            f"Received: tokens={tokens}, prefix={prefix}"
        )
    shape = model.output_shape
    if not isinstance(shape, tuple) or len(shape) != 3 or None in shape[1:]:
        if tokens == CLASS:
            raise InputError(f"{name} gives no tokens but {shape}; only they take tokens={CLASS}")
        return model
    count, channels = shape[1:]
    before, (rows, columns) = _layout(name, count, seen, prefix, grid)
    if tokens == GRID:
        kept, target = (before, 0), (rows, columns, channels)
    elif before:
        kept, target = (0, count - 1), (channels,)
    else:
        raise InputError(
            f"{name}: all {count} tokens are of patches, {rows}×{columns}, and none of the class"
        )
    x = keras.layers.Cropping1D(kept, name="tokens")(model.output)
    return keras.Model(model.input, keras.layers.Reshape(target, name=tokens)(x))


def _layout(
    name: str, count: int, seen: tuple[int, int], prefix: int, grid: tuple[int, int] | None
) -> tuple[int, tuple[int, int]]:
    """How many tokens come before the patches, and these' rows and columns."""
    if grid and prefix == UNKNOWN:
        prefix = count - grid[0] * grid[1]
    fitting = []
    for before in (0, 1) if prefix == UNKNOWN else (prefix,):
        found = _grid(count - before, seen) if grid is None else grid
        if found and found[0] * found[1] == count - before and before >= 0:
            fitting.append((before, found))
    if len(fitting) == 1:
        return fitting[0]
    assumed = "none or one" if prefix == UNKNOWN else f"{max(prefix, 0)}"
    grids = "no grid" if not fitting else "a grid each"
    size = "×".join(map(str, seen))
    raise InputError(
        f"{name} gives {count} tokens, which with {assumed} before them are {grids} of an "
        f"input of {size} pixels; say how many come before the patches, as in prefix=1"
    )


def _grid(count: int, seen: tuple[int, int]) -> tuple[int, int] | None:
    """The rows and columns of square patches, what is left over at the edges aside."""
    height, width = seen
    pairs = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    # Rows and columns are each within one of height and width over the patch's side.
    off = {pair: abs(pair[0] * width - pair[1] * height) for pair in pairs}
    near = [pair for pair in pairs if off[pair] < max(seen)]
    return min(near, key=off.get, default=None)
