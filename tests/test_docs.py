"""What the documents show a user to do is done here."""

import dataclasses
import inspect
import pathlib
import re

import pytest

import tfinvert
from tests.programs import call, flags_of_command
from tests.training.runs import SETTINGS, few_measured
from tfinvert.analysis.experiments import EXPERIMENTS
from tfinvert.commands.table import COMMANDS
from tfinvert.data.open import open_source
from tfinvert.evaluation import read_images
from tfinvert.runs.exhibits import EXHIBITS
from tfinvert.training import strategies
from tfinvert.training.examples import Examples
from tfinvert.training.loop import fit

ROOT = pathlib.Path(__file__).parents[1]
TOP = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
DOCUMENTS = [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").glob("*.md"))]


def python_blocks(document):
    return re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)


def test_the_example_of_the_readme_runs(capsys):
    (example,) = python_blocks(ROOT / "README.md")
    assert len(example.splitlines()) <= 10
    exec(compile(example, "README.md", "exec"), {})
    error = float(re.search(r"mean error of a pixel: ([\d.]+)", capsys.readouterr().out)[1])
    assert error < 0.2


def test_the_example_of_the_layers_runs():
    (example,) = python_blocks(ROOT / "docs" / "alexnet.md")
    names = {}
    exec(compile(example, "alexnet.md", "exec"), names)
    assert names["fc6"].shape == (1, 1024)
    assert names["rebuilt"].shape == (1, 64, 64, 3)


def test_the_example_of_the_inverters_runs(capsys):
    (example,) = python_blocks(ROOT / "docs" / "inverters.md")
    exec(compile(example, "inverters.md", "exec"), {})
    assert capsys.readouterr().out == "hog@2\n"


def test_the_example_of_the_analyses_runs(capsys):
    (example,) = python_blocks(ROOT / "docs" / "analyses.md")
    names = {}
    exec(compile(example, "analyses.md", "exec"), names)
    assert capsys.readouterr().out.splitlines() == names["result"].findings


def test_the_table_of_experiments_is_whole():
    text = (ROOT / "docs" / "analyses.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(named) == sorted(EXPERIMENTS)


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.heading)
def test_the_gallery_shows_what_experiments_draw_and_points_at_what_they_claim(exhibit):
    source = inspect.getsource(inspect.getmodule(EXPERIMENTS[exhibit.experiment].run))
    assert f'"{exhibit.titles.partition(":")[0]}' in source
    table = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert f"| {exhibit.experiment} | {exhibit.finding}" in table or not exhibit.finding


def test_the_pictures_of_the_gallery_are_those_of_its_page_and_small():
    page = ROOT / "docs" / "gallery.md"
    named = re.findall(r"\((gallery/[^)]+)\)", page.read_text(encoding="utf-8"))
    there = [path for path in page.with_suffix("").rglob("*") if path.is_file()]
    assert sorted(named) == sorted(path.relative_to(page.parent).as_posix() for path in there)
    assert sum(path.stat().st_size for path in there) <= 2_500_000


def test_a_representation_is_added_as_the_document_says(tmp_path, monkeypatch):
    module, line = python_blocks(ROOT / "docs" / "adding-a-representation.md")
    (tmp_path / "cell_moments.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    exec(
        line.replace("tfinvert.features.cell_moments", "cell_moments"),
        {"register": tfinvert.features.register},
    )
    feature = tfinvert.features.get("cell_moments", image_shape=(64, 64, 3))
    settings = dataclasses.replace(SETTINGS, steps=2)
    photos = read_images(open_source("photos", "validation"), (64, 64))
    examples = Examples(feature, open_source("photos", "training"), settings)
    with few_measured():
        inverter, history, _ = fit(
            feature, examples, photos, settings, tmp_path, strategies.make("one")
        )
    inverter.save(tmp_path / "saved")
    assert tfinvert.load(tmp_path / "saved").reconstruct(photos).shape == photos.shape
    assert history[-1]["step"] == 2
    with pytest.raises(tfinvert.InputError, match="multiples of 8"):
        tfinvert.features.get("cell_moments", image_shape=(60, 64, 3))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_and_links_that_documents_name_exist(document):
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    programs = re.findall(r"python ((?:recipes|export|benchmarks|tools/gpu)/\w+\.py)", text)
    for name in links:
        assert (document.parent / name.split("#")[0]).exists(), name
    for name in programs:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize(
    "program", ["train_inverter", "evaluate", "reconstruct", "quickstart", "analyze", "gallery"]
)
def test_flags_in_the_documents_are_flags_of_the_programs(program):
    known = call(f"recipes/{program}.py", "--helpfull").stdout
    sources = [*DOCUMENTS, ROOT / "recipes" / f"{program}.py"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources).replace("\\\n", " ")
    for command in re.findall(rf"python recipes/{program}\.py([^`\n|]*)", text):
        for flag in re.findall(r"--(\w+)", command):
            assert f"--{flag}" in known or f"--[no]{flag}" in known, flag


@pytest.mark.parametrize("name", COMMANDS)
def test_flags_in_the_documents_are_flags_of_the_commands(name):
    known = {"help", *flags_of_command(name)}
    texts = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
    text = "\n".join([*texts, COMMANDS[name].help]).replace("\\\n", " ")
    calls = re.findall(rf"tfinvert {name}\b([^`\n|]*)", text)
    assert calls
    assert {flag for call in calls for flag in re.findall(r"--(\w+)", call)} <= known
