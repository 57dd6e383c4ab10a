"""The gallery: a page with pictures of finished runs of the experiments."""

import pathlib
import shlex
from collections.abc import Mapping

import numpy as np
from PIL import Image

from tfinvert.analysis.experiment import Exhibit, Result
from tfinvert.common.files import atomic_path, write_text
from tfinvert.config.registry import EXPERIMENTS
from tfinvert.data import photos
from tfinvert.errors import InputError
from tfinvert.reporting.grids import to_pillow
from tfinvert.runs.results import finished_results, slug
from tfinvert.runs.run_directory import read_flags
from tfinvert.runs.training import INVERTER
from tfinvert.zoo import registry as zoo

_INTRODUCTION = """\
# Gallery

To a neural network a photograph is layers of numbers. What does each layer still represent? Here
other networks are trained to turn the numbers back into photographs. They predict the average of
all photographs that share the numbers: what is sharp is what the layer keeps, what is blurred is
what it discards. The figures are those of
[Dosovitskiy and Brox](https://arxiv.org/abs/1506.02753), reproduced with this package on
photographs that none of the networks was trained on.

The photographs come with scikit-image and scikit-learn (the pavilion is by danielbuechele, the
flower by vultilion, both flickr.com, CC BY 2.0)."""
_CLAIMS = "claims.md"
_WIDTH, _QUALITY = 1200, 75  # pixels, enough for high-density displays; quality of WebP


def exhibits_in_order() -> list[tuple[str, Exhibit]]:
    """All sections of the gallery, each with the name of its experiment."""
    found = [(name, x) for name, own in EXPERIMENTS.items() for x in own.exhibits]
    return sorted(found, key=lambda item: item[1].order)


def write_gallery(runs: Mapping[str, pathlib.Path], output: pathlib.Path) -> pathlib.Path:
    """Writes a Markdown page, and beside it a folder with its pictures.

    Args:
      runs: work directories, by the name of what they are about, for example "AlexNet".
      output: the folder. The page has its name and ".md"; existing files of the same names are
        replaced.

    Returns:
      The page.

    Raises:
      InputError: a run has nothing that the gallery shows, is damaged, or used photographs that
        may not be published.
    """
    parts, commands = [_INTRODUCTION], []
    for label, run in runs.items():
        flags = read_flags(run)
        if flags.get("data") != photos.NAME:
            raise InputError(
                "the gallery takes runs on photographs that may be published; run the experiments "
                f"with --data={photos.NAME}. Received: {run}, with --data={flags.get('data')}"
            )
        results, used = {}, {}
        for name, result, facts in finished_results(run):
            results[name], used[name] = result, tuple(facts["inverters"])
        folder = output / slug(label) if len(runs) > 1 else output
        shown = [
            (name, exhibit)
            for name, exhibit in exhibits_in_order()
            if name in results and exhibit.figures(results[name])
        ]
        if not shown:
            raise InputError(
                "the gallery takes runs with one of its experiments; run more experiments with "
                f"recipes/analyze.py. Received: {run}"
            )
        parts.append(f"## {label}")
        parts += [_section(name, x, results[name], folder, output) for name, x in shown]
        commands += _commands(_public_path(run), flags, {name: used[name] for name, _ in shown})
    named = ",".join(shlex.quote(f"{label}={_public_path(run)}") for label, run in runs.items())
    commands.append(f"python recipes/gallery.py --runs={named} --output={_public_path(output)}")
    parts += ["## How this page is made", "\n".join(["```", *commands, "```"])]
    page = output.with_name(f"{output.name}.md")
    write_text(page, "\n\n".join(parts) + "\n")
    return page


def _section(
    name: str, exhibit: Exhibit, result: Result, folder: pathlib.Path, output: pathlib.Path
) -> str:
    parts = [f"### {exhibit.heading}", exhibit.text]
    for figure in exhibit.figures(result):
        picture = folder / f"{slug(figure.title)}.webp"
        _write_picture(picture, figure.image)
        path = picture.relative_to(output.parent).as_posix()
        if f"*{figure.caption}*" in parts:  # figures with one caption have it below the last
            parts.remove(f"*{figure.caption}*")
        parts += [f"![{figure.title}]({path})", f"*{figure.caption}*"]
    source = f"Experiment `{name}`."
    claim = exhibit.claim(result)
    if claim:
        # Only a page beside that of the claims has something to link to.
        linked = (output.parent / _CLAIMS).exists()
        where = f"[{_CLAIMS}]({_CLAIMS})" if linked else "the page of `recipes/claims.py`"
        source += f" Its number is in {where}: “{claim.finding}”"
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
    """Commands that reproduce the run, one for each selection of inverters.

    Args:
      run: its directory, as the commands name it.
      flags: its flags.
      used: the inverters of each experiment.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, inverters in used.items():
        default = set(inverters) == set(EXPERIMENTS[name].default_inverters)
        groups.setdefault(() if default else inverters, []).append(name)
    given = [f"--{name}={value}" for name, value in flags.items() if value is not None]
    shipped, commands = zoo.shipped(), []
    for inverters, names in groups.items():
        # An inverter of a run has the run's name; run directories lie beside each other.
        paths = [
            x if x.partition("@")[0] in shipped else str(run.parent / x / INVERTER)
            for x in inverters
        ]
        lines = [f"python recipes/analyze.py --experiment={','.join(names)}"]
        lines += [f"--inverters={','.join(paths)}"] if paths else []
        lines.append(shlex.join([*given, f"--workdir={run}"]))
        commands.append(" \\\n    ".join(lines))
    return commands


def _public_path(path: pathlib.Path) -> pathlib.Path:
    """The path for a page that is read on other machines: the name alone of an absolute one."""
    return pathlib.Path(path.name) if path.is_absolute() else path
