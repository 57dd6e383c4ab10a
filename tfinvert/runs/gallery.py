"""The paper's figures on one page: pictures of finished runs of the experiments, made small."""

import pathlib
import shlex
from collections.abc import Mapping

import numpy as np
from PIL import Image

from tfinvert.analysis.experiment import EXPERIMENTS
from tfinvert.analysis.result import Result
from tfinvert.common.files import atomic_path
from tfinvert.data import photos
from tfinvert.errors import InputError
from tfinvert.reporting.grids import to_pillow
from tfinvert.reporting.report import Figure
from tfinvert.runs.exhibits import EXHIBITS, INTRODUCTION, Exhibit
from tfinvert.runs.results import finished_results, slug
from tfinvert.runs.run_directory import read_flags
from tfinvert.runs.training import INVERTER
from tfinvert.zoo import registry

_CLAIMS = "claims.md"
_WIDTH, _QUALITY = 1200, 75  # of a picture: pixels, for a fine display too, and WebP's quality


def write_gallery(runs: Mapping[str, pathlib.Path], output: pathlib.Path) -> pathlib.Path:
    """Writes a Markdown page, and beside it a folder with its pictures.

    Args:
      runs: from what a run is of, for example "AlexNet", to its work directory.
      output: the folder. The page has its name and ".md"; files of the same names are replaced.

    Returns:
      The page.

    Raises:
      InputError: a run has nothing that the gallery shows, is damaged, or is of photographs that
        not everybody may publish.
    """
    parts, commands = [INTRODUCTION], []
    for label, run in runs.items():
        flags = read_flags(run)
        if flags.get("data") != photos.NAME:
            raise InputError(
                f"the gallery shows photographs that anybody may publish: of runs with --data="
                f"{photos.NAME}. Received: {run}, of {flags.get('data')}"
            )
        results, made_of = {}, {}
        for name, result, facts in finished_results(run):
            results[name], made_of[name] = result, tuple(facts["inverters"])
        folder = output / slug(label) if len(runs) > 1 else output
        shown = [exhibit for exhibit in EXHIBITS if _figures(exhibit, results)]
        if not shown:
            raise InputError(f"{run} has no experiment that the gallery shows")
        parts.append(f"## {label}")
        parts += [_section(exhibit, results, folder, output) for exhibit in shown]
        used = {exhibit.experiment: made_of[exhibit.experiment] for exhibit in shown}
        commands += _commands(_said(run), flags, used)
    named = ",".join(shlex.quote(f"{label}={_said(run)}") for label, run in runs.items())
    commands.append(f"python recipes/gallery.py --runs={named} --output={_said(output)}")
    parts += ["## How this page is made", "\n".join(["```", *commands, "```"])]
    page = output.with_name(f"{output.name}.md")
    with atomic_path(page) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


def _figures(exhibit: Exhibit, results: Mapping[str, Result]) -> list[Figure]:
    if exhibit.experiment not in results:
        return []
    figures = results[exhibit.experiment].figures
    return [figure for figure in figures if figure.title.startswith(exhibit.titles)][exhibit.chosen]


def _section(
    exhibit: Exhibit, results: Mapping[str, Result], folder: pathlib.Path, output: pathlib.Path
) -> str:
    parts = [f"### {exhibit.heading}", exhibit.text]
    for figure in _figures(exhibit, results):
        picture = folder / f"{slug(figure.title)}.webp"
        _write_picture(picture, figure.image)
        place = picture.relative_to(output.parent).as_posix()
        if f"*{figure.caption}*" in parts:  # of two alike, once behind both
            parts.remove(f"*{figure.caption}*")
        parts += [f"![{figure.title}]({place})", f"*{figure.caption}*"]
    source = f"Experiment `{exhibit.experiment}`."
    claims = results[exhibit.experiment].claims
    tested = [claim for claim in claims if claim.finding.startswith(exhibit.finding)]
    if tested and exhibit.finding:
        # A page that is not beside that of the claims has nothing to link to.
        there = (output.parent / _CLAIMS).exists()
        where = f"[{_CLAIMS}]({_CLAIMS})" if there else "the page of `recipes/claims.py`"
        source += f" Its number is in {where}: “{tested[0].finding}”"
    return "\n\n".join([*parts, source])


def _write_picture(path: pathlib.Path, image: np.ndarray) -> None:
    picture = to_pillow(image)
    if picture.width > _WIDTH:
        size = _WIDTH, round(picture.height * _WIDTH / picture.width)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="WEBP", quality=_QUALITY, method=6)


def _commands(
    run: pathlib.Path, flags: Mapping[str, object], used: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """What makes the run again: a command for each choice of inverters.

    Args:
      run: its directory, as it is to be called.
      flags: what it was made with.
      used: the inverters that each experiment was asked of.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for experiment, inverters in used.items():
        default = set(inverters) == set(EXPERIMENTS[experiment].shipped)
        groups.setdefault(() if default else inverters, []).append(experiment)
    given = [f"--{name}={value}" for name, value in flags.items() if value is not None]
    shipped, commands = registry.shipped(), []
    for inverters, experiments in groups.items():
        # A run's inverter is called as the run; runs lie beside each other.
        paths = [
            x if x.partition("@")[0] in shipped else str(run.parent / x / INVERTER)
            for x in inverters
        ]
        lines = [f"python recipes/analyze.py --experiment={','.join(experiments)}"]
        lines += [f"--inverters={','.join(paths)}"] if paths else []
        lines.append(shlex.join([*given, f"--workdir={run}"]))
        commands.append(" \\\n    ".join(lines))
    return commands


def _said(path: pathlib.Path) -> pathlib.Path:
    """As a page may name it, which is read on another machine."""
    return pathlib.Path(path.name) if path.is_absolute() else path
