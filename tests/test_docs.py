"""What the documents show a user to do is done here."""

import pathlib
import re
import subprocess
import sys

import pytest

import tfinvert
from tfinvert.analysis.experiments import EXPERIMENTS
from tfinvert.data.open import open_source
from tfinvert.evaluation import read_images
from tfinvert.training import strategies
from tfinvert.training.examples import Examples
from tfinvert.training.loop import fit
from tfinvert.training.settings import Settings

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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


def test_the_example_of_the_analyses_runs(capsys):
    (example,) = python_blocks(ROOT / "docs" / "analyses.md")
    names = {}
    exec(compile(example, "analyses.md", "exec"), names)
    assert capsys.readouterr().out.splitlines() == names["result"].findings


def test_the_table_of_experiments_is_whole():
    text = (ROOT / "docs" / "analyses.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(named) == sorted(EXPERIMENTS)


def test_a_representation_is_added_as_the_document_says(tmp_path, monkeypatch):
    module, line = python_blocks(ROOT / "docs" / "adding-a-representation.md")
    (tmp_path / "cell_moments.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    exec(
        line.replace("tfinvert.features.cell_moments", "cell_moments"),
        {"register": tfinvert.features.register},
    )
    feature = tfinvert.features.get("cell_moments", image_shape=(64, 64, 3))
    settings = Settings(steps=6, batch_size=8, width=0.125, warmup_steps=0, learning_rate=2e-3)
    photos = read_images(open_source("photos", "validation"), (64, 64))
    inverter, history, _ = fit(
        feature,
        Examples(feature, open_source("photos", "training"), settings),
        photos,
        settings,
        tmp_path,
        strategies.make("one"),
    )
    inverter.save(tmp_path / "saved")
    assert tfinvert.load(tmp_path / "saved").reconstruct(photos).shape == photos.shape
    assert history[-1]["step"] == 6
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
    "program", ["train_inverter", "evaluate", "reconstruct", "quickstart", "analyze"]
)
def test_flags_in_the_documents_are_flags_of_the_programs(program):
    known = subprocess.run(
        [sys.executable, ROOT / "recipes" / f"{program}.py", "--helpfull"],
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    sources = [*DOCUMENTS, ROOT / "recipes" / f"{program}.py"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources).replace("\\\n", " ")
    for command in re.findall(rf"python recipes/{program}\.py([^`\n|]*)", text):
        for flag in re.findall(r"--(\w+)", command):
            assert f"--{flag}" in known or f"--[no]{flag}" in known, flag
