"""Self-contained HTML reports."""

from __future__ import annotations

import base64
import io
import itertools
import numbers
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from tfinvert.common.files import write_text
from tfinvert.reporting.formatting import format_cell, format_detail, is_number
from tfinvert.reporting.grids import to_pillow, validate_rows
from tfinvert.reporting.page_template import PAGE, STYLE

# Narrower images are enlarged by an integer factor: a 64 × 64 image is too small to judge at one
# screen pixel per pixel.
_MIN_DISPLAY_WIDTH = 384
_MAX_ENLARGEMENT = 6
# The same for each image of `rows`.
_MIN_CELL_WIDTH = 128
# Longer tables are collapsed.
_MAX_OPEN_ROWS = 20


@dataclass(frozen=True, eq=False)
class Figure:
    """A titled figure of a report, in one or several formats.

    The page shows the first available format of `svg`, `gif`, `rows` and `image`.

    Attributes:
      title: short heading, plain text.
      caption: description of the figure, plain text; may be empty.
      image: `[H, W, 3]`, float in [0, 1] (values outside are clipped) or uint8.
      svg: an `<svg>` element as text, such as `loss_curve` returns. It is embedded unchanged, so it
        must be well-formed XML without scripts or external references.
      gif: the bytes of an animation.
      rows: maps a row's label to its images, as `image_grid` takes them. The page lays them out for
        its width; on a narrow one, labels are above the rows.

    Raises:
      ValueError: no format is given, `svg` is not such an element, `gif` is not a GIF, or the rows
        are not images of one shape and number.
    """

    title: str
    caption: str
    image: np.ndarray | None = None
    svg: str | None = None
    gif: bytes | None = None
    rows: Mapping[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        """Validates the formats."""
        if all(x is None for x in (self.image, self.svg, self.gif, self.rows)):
            raise ValueError(f"Figure {self.title!r} needs an image, svg, gif or rows")
        if self.rows is not None:
            validate_rows(self.rows)
        if self.svg is not None:
            _check_svg(self.title, self.svg)
        if self.gif is not None and not self.gif.startswith(b"GIF8"):
            raise ValueError(f"The `gif` of figure {self.title!r} is not a GIF")


@dataclass(frozen=True, eq=False)
class Chapter:
    """A section of a report; empty attributes are omitted.

    Attributes:
      title: heading.
      lead: introductory paragraph.
      findings: plain sentences, shown as a bulleted list.
      figures: figures, numbered consecutively through the whole page.
      rows: rows of a table, see `metrics` of `write_report`; long tables are collapsed.
    """

    title: str
    lead: str = ""
    findings: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    rows: Sequence[Mapping[str, object]] = ()


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    lead: str,
    findings: Sequence[str] = (),
    figures: Sequence[Figure] = (),
    metrics: Sequence[Mapping[str, object]] = (),
    chapters: Sequence[Chapter] = (),
    details: Mapping[str, object] | None = None,
) -> None:
    """Writes a report as a single HTML file that needs no network and no other file.

    All text is escaped. The file is written atomically, so a failure leaves an older report intact.
    Sections without content are omitted.

    Args:
      path: path of the file; its folder is created if missing.
      title: heading of the page.
      lead: introductory paragraph.
      findings: plain sentences, shown as a bulleted list.
      figures: figures, numbered in this order.
      metrics: rows of a table whose columns are the keys of the first row. Floats are shown with
        four significant digits, missing keys and None as a dash.
      chapters: further sections.
      details: names and values (steps, data, versions, seed, ...), shown at the end.

    Raises:
      ValueError: an image of a figure is not `[H, W, 3]` or contains NaN, or a row of `metrics` has
        a key that the first row lacks.
      OSError: the file cannot be written.
    """
    if isinstance(findings, str):
        raise ValueError(f"`findings` must be a sequence of sentences. Received: {findings!r}")
    numbers = itertools.count(1)
    sections = (
        _section("Findings", _findings_html(findings)),
        _section("Results", _metrics_html(metrics)),
        _section("Figures", _figures_html(figures, numbers)),
        *(_section(chapter.title, _chapter_html(chapter, numbers)) for chapter in chapters),
        _section("Details", _details_html(details or {})),
    )
    page = PAGE.substitute(
        title=escape(title),
        lead=escape(lead),
        style=STYLE,
        sections="\n".join(section for section in sections if section),
    )
    write_text(path, page)


def embed_image(image: np.ndarray, alt: str, attributes: str = "") -> str:
    """Formats an image as an `<img>` element that contains its PNG file.

    Args:
      image: `[H, W, 3]`, float in [0, 1] (values outside are clipped) or uint8.
      alt: alternative text.
      attributes: further attributes of the element, each with a space before it.

    Raises:
      ValueError: `image` has another shape or dtype, or contains NaN.
    """
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, format="PNG", optimize=True)
    return _embed(buffer.getvalue(), "png", alt, attributes)


def _section(heading: str, body: str) -> str:
    return f"<section>\n<h2>{escape(heading)}</h2>\n{body}\n</section>" if body else ""


def _findings_html(findings: Sequence[str]) -> str:
    items = "\n".join(f"<li>{escape(finding)}</li>" for finding in findings)
    return f'<ul class="findings">\n{items}\n</ul>' if items else ""


def _chapter_html(chapter: Chapter, numbers: Iterator[int]) -> str:
    lead = f'<p class="chapter-lead">{escape(chapter.lead)}</p>' if chapter.lead else ""
    table = _metrics_html(chapter.rows)
    if len(chapter.rows) > _MAX_OPEN_ROWS:
        heading = f"Full table, {len(chapter.rows)} rows"
        table = f"<details>\n<summary>{heading}</summary>\n{table}\n</details>"
    parts = (lead, _findings_html(chapter.findings), _figures_html(chapter.figures, numbers), table)
    return "\n".join(part for part in parts if part)


def _figures_html(figures: Sequence[Figure], numbers: Iterator[int]) -> str:
    return "\n".join(_figure_html(next(numbers), figure) for figure in figures)


def _figure_html(number: int, figure: Figure) -> str:
    if figure.svg is not None:
        picture = figure.svg
    elif figure.gif is not None:
        picture = _embed(figure.gif, "gif", figure.title)
    elif figure.rows is not None:
        picture = _rows_html(figure.rows)
    else:
        picture = _img_html(figure.image, figure.title)
    caption = f"<figcaption>{escape(figure.caption)}</figcaption>\n" if figure.caption else ""
    return (
        f'<figure>\n<h3><span class="number">Figure {number}</span> {escape(figure.title)}</h3>\n'
        f'<div class="picture">{picture}</div>\n{caption}</figure>'
    )


def _img_html(image: np.ndarray, alt: str) -> str:
    height, width = np.shape(image)[:2]
    factor = min(max(_MIN_DISPLAY_WIDTH // width, 1), _MAX_ENLARGEMENT)
    # Enlarged pixels stay sharp; images at their own size may be scaled down smoothly.
    style = ' class="enlarged"' if factor > 1 else ""
    size = f' width="{width * factor}" height="{height * factor}"'
    return embed_image(image, alt, style + size)


def _rows_html(rows: Mapping[str, np.ndarray]) -> str:
    images = validate_rows(rows)
    count, _, width, _ = next(iter(images.values())).shape
    factor = max(_MIN_CELL_WIDTH // width, 1)
    style = ' class="enlarged"' if factor > 1 else ""
    cells = []
    for label, batch in images.items():
        cells.append(f"<span>{escape(label)}</span>")
        cells += [embed_image(image, f"{label}, {i}", style) for i, image in enumerate(batch, 1)]
    variables = f"--columns: {count}; --width: {width * factor}px"
    return f'<div class="rows" style="{variables}">\n' + "\n".join(cells) + "\n</div>"


def _embed(file: bytes, kind: str, alt: str, attributes: str = "") -> str:
    data = base64.b64encode(file).decode("ascii")
    return f'<img{attributes} src="data:image/{kind};base64,{data}" alt="{escape(alt)}">'


def _metrics_html(metrics: Sequence[Mapping[str, object]]) -> str:
    if not metrics:
        return ""
    columns = list(metrics[0])
    for row in metrics:
        unknown = [key for key in row if key not in columns]
        if unknown:
            raise ValueError(
                f"A row of `metrics` has keys that the first row lacks. Received: {unknown}"
            )
    attributes = {}
    cells = {}
    for column in columns:
        values = [row.get(column) for row in metrics]
        present = [value for value in values if value is not None]
        numeric = bool(present) and all(is_number(value) for value in present)
        attributes[column] = ' class="number-cell"' if numeric else ""
        # An integer in a column of floats is shown as a float: 1.000.
        if numeric and not all(isinstance(value, numbers.Integral) for value in present):
            values = [None if value is None else float(value) for value in values]
        cells[column] = [escape(format_cell(value)) for value in values]
    head = "".join(f'<th scope="col"{attributes[key]}>{escape(str(key))}</th>' for key in columns)
    body = "\n".join(
        "<tr>"
        + "".join(f"<td{attributes[key]}>{cells[key][index]}</td>" for key in columns)
        + "</tr>"
        for index in range(len(metrics))
    )
    return (
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _details_html(details: Mapping[str, object]) -> str:
    items = "\n".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(format_detail(value))}</dd>"
        for name, value in details.items()
    )
    return f"<dl>\n{items}\n</dl>" if items else ""


def _check_svg(title: str, svg: str) -> None:
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(f"The `svg` of figure {title!r} is not XML. Received: {error}") from None
    if not svg.startswith("<svg"):
        raise ValueError(
            f"The `svg` of figure {title!r} must start with '<svg'. Received: {svg[:40]!r}"
        )
    for element in root.iter():
        tag = str(element.tag).rpartition("}")[2].lower()
        links = [
            link
            for name, link in element.attrib.items()
            if name.rpartition("}")[2].lower() in ("href", "src")
        ]
        external = [link for link in links if not link.startswith(("#", "data:image/"))]
        if tag == "script" or external:
            raise ValueError(
                f"The `svg` of figure {title!r} must have no scripts or external references. "
                f"Received: {external[0] if external else '<script>'}"
            )
