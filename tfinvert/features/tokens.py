"""Token outputs `[T, C]` of vision transformers as a grid of patch tokens or a class token."""

from typing import Any, NamedTuple

import keras

from tfinvert.errors import InputError

GRID, CLASS = "grid", "class"
UNKNOWN = -1


def tokens_to_grid(
    name: str,
    model: keras.Model,
    input_size: tuple[int, int],
    tokens: str = GRID,
    prefix: int = UNKNOWN,
    grid: tuple[int, int] | None = None,
) -> keras.Model:
    """Extends a model so that its tokens become a grid or a vector.

    A model whose output is not a sequence of tokens is returned unchanged.

    Args:
      name: name of the feature, for error messages.
      model: maps images to `[B, T, C]`, or to another shape.
      input_size: (height, width) of the network's input; patches are square.
      tokens: "grid" for the patch tokens, `[B, rows, columns, C]`, or "class" for the first token,
        `[B, C]`.
      prefix: number of tokens before the patch tokens (class and register tokens); -1 for the
        number left over by the grid or, if the grid is unknown, zero or one.
      grid: (rows, columns) of the patches, if known.

    Raises:
      InputError: the patch tokens do not form such a grid, or there is no class token.
    """
    selection = select_tokens(name, model.output_shape, input_size, tokens, prefix, grid)
    if selection is None:
        return model
    count, channels = model.output_shape[1:]
    cropping = (selection.begin, count - selection.end)
    x = keras.layers.Cropping1D(cropping)(model.output)
    outputs = keras.layers.Reshape((*selection.shape, channels))(x)
    return keras.Model(model.input, outputs)


class TokenSelection(NamedTuple):
    """The tokens [begin, end), as an array of `shape`: (rows, columns), or () for one token."""

    begin: int
    end: int
    shape: tuple[int, ...]


def select_tokens(
    name: str,
    shape: Any,
    input_size: tuple[int, int],
    tokens: str = GRID,
    prefix: int = UNKNOWN,
    grid: tuple[int, int] | None = None,
) -> TokenSelection | None:
    """Selects the patch tokens or the class token; see `tokens_to_grid`.

    Args:
      name: name of the feature, for error messages.
      shape: shape of a model's output with its batch axis; a list for several outputs.
      input_size: see `tokens_to_grid`, also for the other arguments.
      tokens: "grid" or "class".
      prefix: number of tokens before the patch tokens, or -1.
      grid: (rows, columns) of the patches, if known.

    Returns:
      The selection; None if the shape is not that of tokens, `[B, T, C]`.

    Raises:
      InputError: see `tokens_to_grid`.
    """
    if tokens not in (GRID, CLASS) or prefix < UNKNOWN:
        raise InputError(
            f"{name}: tokens must be {GRID} or {CLASS}, and prefix a number of tokens or {UNKNOWN}."
            f" Received: tokens={tokens}, prefix={prefix}"
        )
    if not isinstance(shape, tuple) or len(shape) != 3 or None in shape[1:]:
        if tokens == CLASS:
            raise InputError(
                f"{name} outputs no tokens, which tokens={CLASS} requires. Received: shape {shape}"
            )
        return None
    count = shape[1]
    num_prefix, (rows, columns) = _find_layout(name, count, input_size, prefix, grid)
    if tokens == GRID:
        return TokenSelection(num_prefix, count, (rows, columns))
    if num_prefix:
        return TokenSelection(0, 1, ())
    raise InputError(
        f"{name} has no class token: all {count} tokens are patches, {rows}×{columns}; "
        f"use tokens={GRID}"
    )


def _find_layout(
    name: str, count: int, input_size: tuple[int, int], prefix: int, grid: tuple[int, int] | None
) -> tuple[int, tuple[int, int]]:
    """Returns the number of tokens before the patch tokens, and the patches' (rows, columns)."""
    if grid and prefix == UNKNOWN:
        prefix = count - grid[0] * grid[1]
    layouts = []
    for num_prefix in (0, 1) if prefix == UNKNOWN else (prefix,):
        found = _find_grid(count - num_prefix, input_size) if grid is None else grid
        if found and found[0] * found[1] == count - num_prefix and num_prefix >= 0:
            layouts.append((num_prefix, found))
    if len(layouts) == 1:
        return layouts[0]
    assumed = "zero or one" if prefix == UNKNOWN else f"{max(prefix, 0)}"
    grids = "do not form a grid" if not layouts else "form a grid either way"
    size = "×".join(map(str, input_size))
    raise InputError(
        f"{name} outputs {count} tokens, which with {assumed} before the patch tokens {grids} for "
        f"an input of {size} pixels; give the number of tokens before the patches, such as prefix=1"
    )


def _find_grid(count: int, input_size: tuple[int, int]) -> tuple[int, int] | None:
    """Returns (rows, columns) of `count` square patches, ignoring partial ones at the edges."""
    height, width = input_size
    pairs = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    # Rows and columns are each within one of height and width divided by the patch size.
    distortion = {pair: abs(pair[0] * width - pair[1] * height) for pair in pairs}
    candidates = [pair for pair in pairs if distortion[pair] < max(input_size)]
    return min(candidates, key=distortion.get, default=None)
