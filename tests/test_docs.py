"""What the documents show a user to do is done here."""

import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys

import loopback_server
import pytest
import skimage.data
import yaml
from packaging.requirements import Requirement
from PIL import Image

import tfinvert
from tests.documents import (
    DOCUMENTS,
    ROOT,
    blocks,
    blocks_of,
    commands,
    docstring_commands,
    inline_commands,
)
from tests.programs import call
from tests.training.runs import SETTINGS, few_measured
from tfinvert.analysis.experiment import EXPERIMENTS
from tfinvert.data.open_source import open_source
from tfinvert.features import registry
from tfinvert.metrics.evaluation import read_images
from tfinvert.runs.exhibits import EXHIBITS
from tfinvert.serving import export_savedmodel
from tfinvert.training import strategies
from tfinvert.training.datasets import TrainingDataset
from tfinvert.training.train_inverter import train_inverter

# The shell commands of the documents are all parsed by the programs they name (below); what runs
# them too, here or in a test of another file that says the program's name.
HERE = "tests/test_docs.py"
RUN_BY = {
    "curl": HERE,
    "tfinvert analyze": HERE,
    "tfinvert evaluate": HERE,
    "tfinvert export": HERE,
    "tfinvert reconstruct": HERE,
    "tfinvert serve-check": HERE,
    "tfinvert train": HERE,
    "tfinvert studio": "tests/studio/test_app.py",
    "tfinvert completion": "tests/commands/test_completion.py",
    "export/check_savedmodel.py": HERE,
    "export/compute_features.py": HERE,
    "export/export_savedmodel.py": HERE,
    "recipes/analyze.py": HERE,
    "recipes/claims.py": HERE,
    "recipes/evaluate.py": HERE,
    "recipes/gallery.py": HERE,
    "recipes/train_inverter.py": HERE,
    "tfinvert/serving/client.py": HERE,
    "apache_beam.runners.portability.local_job_service_main": "tests/bulk/test_reconstructions.py",
    "benchmarks/hostile.py": "tests/serving/test_hostile.py",
    "benchmarks/loopback_server.py": "tests/serving/test_client_server.py",
    "benchmarks/survival.py": "tests/test_survival.py",
    "make": ".ci/run",
    "pytest": "Makefile",
    "recipes/beam_features.py": "tests/bulk/test_features.py",
    "recipes/beam_reconstruct.py": "tests/bulk/test_reconstructions.py",
    "recipes/quickstart.py": "tests/recipes/test_quickstart.py",
    "recipes/tradeoff.py": "tests/runs/test_tradeoff.py",
    "recipes/train_alexnet.py": "tests/recipes/test_train_alexnet.py",
    "tools/gpu/collect.py": "tests/test_gpu_tools.py",
    "tools/gpu/photographs.py": "tests/test_gpu_tools.py",
    "tools/gpu/sift_views.py": "tests/test_gpu_tools.py",
    "tools/gpu/teach_head.py": "tests/test_gpu_tools.py",
    "tools/gpu/train.py": "tests/test_gpu_tools.py",
}
RUN_BY_NONE = {
    "benchmarks/feature_speed.py": "measures for minutes, and needs VLFeat",
    "benchmarks/serving.py": "measures for minutes",
    "benchmarks/network_accuracy.py": "needs 500 photographs of ImageNet",
    "benchmarks/studio_speed.py": "measures for minutes, in a browser",
    "benchmarks/training_speed.py": "measures for minutes",
    "docker": "needs the image of a registry",
    "kubectl": "needs a cluster",
    "pip": "installs from a registry",
    "tensorboard": "serves until it is stopped",
}
# What makes a command that a document gives a matter of seconds. The last of two flags counts.
SMALL = {
    "analyze": [
        "--experiment=layers",
        "--images=8",
        "--gradient_images=2",
        "--gradient_steps=2",
        "--inverters=alexnet-conv5-64,alexnet-fc8-64",
    ],
    "evaluate": ["--images=4"],
    "train": [
        "--steps=2",
        "--batch_size=4",
        "--width=0.125",
        "--network=paper",
        "--optimizer=adam",
    ],
}
LANGUAGES = ("json", "python", "shell", "text", "yaml")  # a test for each
REST, GRPC = "localhost:8501", "localhost:8500"  # in the documents
PROGRAMS = [
    path
    for folder in ("recipes", "export", "benchmarks")
    for path in sorted((ROOT / folder).glob("*.py"))
]


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The folder of a reader, with a few photographs."""
    names = ("a.jpg", "b.png", "photo.jpg", *(f"images/{i}/{i}.jpg" for i in range(4)))
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cut = skimage.data.coffee()[40 * i :, 60 * i :][:128, :160]
        Image.fromarray(cut).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_blocks_are_of_languages_that_are_tested():
    found = {str(x): x.language for path in DOCUMENTS for x in blocks(path)}
    assert len(found) > 30
    assert not {x: y for x, y in found.items() if y not in LANGUAGES}


@pytest.mark.parametrize(
    "block", [*blocks_of("json"), *blocks_of("yaml")], ids=lambda block: str(block)
)
def test_data_of_the_documents_can_be_read(block):
    read = {"json": json.loads, "yaml": lambda text: [*yaml.safe_load_all(text)]}
    assert read[block.language](block.text)


def size_of(picture):
    with Image.open(picture) as image:
        return image.size


def said_of_readme(names, said):
    (example,) = python_blocks("README.md")
    assert len(example.splitlines()) <= 10
    assert float(re.search(r"mean error of a pixel: ([\d.]+)", said)[1]) < 0.2


def said_of_layers(names, said):
    assert names["fc6"].shape == (1, 1024)
    assert names["rebuilt"].shape == (1, 64, 64, 3)


def said_of_inverters(names, said):
    assert said == "hog@2\n"


def said_of_analyses(names, said):
    assert said.splitlines() == names["result"].findings


def said_of_serving(names, said):
    assert size_of("reconstruction.png") == (160, 128)


SAID = {
    "README.md": said_of_readme,
    "alexnet.md": said_of_layers,
    "analyses.md": said_of_analyses,
    "inverters.md": said_of_inverters,
    "serving.md": said_of_serving,
}
# Files to be written, and not statements: a test of its own.
FILES = {"adding-a-representation.md"}


def python_blocks(document):
    return [x.text for x in blocks_of("python") if x.document == document]


@pytest.mark.parametrize("document", sorted({x.document for x in blocks_of("python")} - FILES))
def test_python_of_a_document_runs(document, scratch, capsys, request):
    """Block after block, as a reader would type them."""
    names = {}
    for block in [x for x in blocks_of("python") if x.document == document]:
        text = block.text
        if REST in text or GRPC in text:
            request.getfixturevalue("small_model")
            text = asked_of(request.getfixturevalue("server"), text)
        exec(compile(text, str(block), "exec"), names)
    SAID.get(document, lambda *_: None)(names, capsys.readouterr().out)


@pytest.fixture
def models(scratch):
    return loopback_server.ModelFolder(scratch / "models")


@pytest.fixture
def small_model(models, scratch, inverter):
    export_savedmodel(inverter, scratch / "models" / "hog")
    models.version("hog", None)  # loaded, as a server's that is ready


@pytest.fixture
def server(models):
    """What answers as a model server would, of the models in the reader's folder."""
    with loopback_server.Server(models) as server:
        yield server


def asked_of(server, text):
    """The same of this server."""
    text = text.replace(REST, f"127.0.0.1:{server.rest_port}")
    return text.replace(GRPC, f"127.0.0.1:{server.grpc_port}")


def shell_of(path):
    """What is for a shell, and where it is."""
    if path.suffix == ".py":
        return {path.name: docstring_commands(path)}
    found = {str(x): x.text for x in blocks(path) if x.language == "shell"}
    return found | {path.name: inline_commands(path)}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What the documents give to each program: lists of arguments, and where they are."""
    found = {}
    for path in [*DOCUMENTS, *PROGRAMS]:
        for place, text in shell_of(path).items():
            for words in commands(text, tmp_path_factory.mktemp("read")):
                program, arguments = split(words)
                found.setdefault(program, []).append((place, arguments))
    return found


def split(words):
    """What `RUN_BY` calls a program, and the arguments."""
    if words[0] == "tfinvert":
        return " ".join(words[:2]), words[2:]
    begin = words.index(next(x for x in words if x not in ("python", "-m")))
    return words[begin], words[begin + 1 :]


def short(program):
    return re.split(r"[/. ]", program.removesuffix(".py"))[-1]


def test_programs_of_the_documents_are_run_or_it_is_said_why_not(given):
    assert given.keys() == RUN_BY.keys() | RUN_BY_NONE.keys()
    assert not RUN_BY.keys() & RUN_BY_NONE.keys()
    for program, test in RUN_BY.items():
        assert short(program) in (ROOT / test).read_text(encoding="utf-8"), f"{program}: {test}"


@pytest.mark.parametrize("program", RUN_BY_NONE)
def test_program_runs(program):
    pytest.skip(f"{program} is not run: {RUN_BY_NONE[program]}")


@pytest.mark.parametrize("program", sorted(RUN_BY.keys() | RUN_BY_NONE.keys()))
def test_a_program_takes_what_the_documents_give_it(program, given, tmp_path):
    places, lists = zip(*given[program], strict=True)
    if program in TAKES:
        complaints = [TAKES[program](arguments) for arguments in lists]
    else:
        complaints = said_by_program(program, lists, tmp_path)
    assert not [x for x in zip(places, lists, complaints, strict=True) if x[-1]]


def start_of(program):
    """The file to start, and what comes before its flags."""
    file, *command = program.split()
    return ["tfinvert/__main__.py" if command else file, *command]


def said_by_program(program, lists, folder):
    """What an absl program has against lists of arguments, as its own flags parse them."""
    (folder / "lists.json").write_text(json.dumps(lists), encoding="utf-8")
    file, *command = start_of(program)
    finished = call("tests/parsing.py", folder / "lists.json", ROOT / file, *command)
    assert not finished.returncode, finished.stderr
    complaints = finished.stdout.splitlines()
    assert len(complaints) == len(lists)
    return complaints


def pip_takes(arguments):
    """Packages by names that are some, and extras that setup.py has."""
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    extras = {*re.findall(r'^        "(\w+)": \[', setup, re.MULTILINE)}
    for argument in [x for x in arguments[1:] if not x.startswith("-")]:
        asked = Requirement(re.sub(r"^\.", "tfinvert", argument))
        if asked.name == "tfinvert" and not asked.extras <= extras:
            return f"setup.py has no {asked.extras}"


def make_takes(arguments):
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stderr if done.returncode else None


def docker_takes(arguments):
    file = arguments[arguments.index("-f") + 1]
    return None if yaml.safe_load((ROOT / file).read_text("utf-8"))["services"] else "no services"


def kubectl_takes(arguments):
    return None if (ROOT / arguments[-1] / "kustomization.yml").is_file() else "no kustomization"


def tensorboard_takes(arguments):
    # Its modules warn while they are imported.
    program = (
        "import sys; from tensorboard.program import TensorBoard as T; T().configure(sys.argv)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True
    )
    return done.stderr if done.returncode else None


def nothing_to_take(arguments):
    return arguments or None


def run_with(arguments):
    """What `RUN_BY` names starts the program with such arguments."""


TAKES = {
    "docker": docker_takes,
    "kubectl": kubectl_takes,
    "make": make_takes,
    "pip": pip_takes,
    "tensorboard": tensorboard_takes,
    "benchmarks/feature_speed.py": nothing_to_take,
    "apache_beam.runners.portability.local_job_service_main": run_with,
    "pytest": run_with,
    "curl": run_with,
    "tfinvert/serving/client.py": run_with,
    # These need JAX, and tests/test_gpu_tools.py looks at their flags.
    **dict.fromkeys([x for x in RUN_BY if x.startswith("tools/gpu/")], run_with),
}


@pytest.mark.slow
def test_commands_of_the_readme_run(scratch):
    """One after the other, small."""
    (scratch / "parsed").mkdir()
    for words in commands(inline_commands(ROOT / "README.md"), scratch / "parsed"):
        program, arguments = split(words)
        if RUN_BY.get(program) == HERE:
            arguments = [x.replace("folder:/images", "folder:images") for x in arguments]
            small = SMALL.get(short(program), ())
            finished = call(*start_of(program), *arguments, *small, cwd=scratch)
            assert not finished.returncode, f"{words}\n{finished.stderr}"
    left = ("grid.png", "runs/look/report.html", "claims.md", "gallery.md", "features.npy")
    assert all((scratch / name).stat().st_size for name in left)


@pytest.mark.slow
def test_commands_of_serving_run(scratch, server):
    """By bash, which hands on what one program gives to the next; against our own server."""
    for name in ("export", "recipes", "tfinvert"):
        (scratch / name).symlink_to(ROOT / name)
    (scratch / "bin").mkdir()
    python = scratch / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{scratch / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    texts = [x.text for x in blocks(ROOT / "docs" / "serving.md") if x.language == "shell"]
    for text in [
        asked_of(server, x) for x in texts if not re.search("docker|kubectl|benchmarks", x)
    ]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not done.returncode, f"{text}\n{done.stderr}"
        if "curl" in text:
            (prediction,) = json.loads(done.stdout[done.stdout.index("{") :])["predictions"]
            assert "b64" in prediction or len(prediction) == 64
    assert size_of(scratch / "reconstruction.png")[0] in (64, 160)


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
    module, line = python_blocks("adding-a-representation.md")
    (tmp_path / "cell_moments.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))  # for this test alone
    exec(
        line.replace("tfinvert.features.cell_moments", "cell_moments"),
        {"register": tfinvert.features.register},
    )
    feature = tfinvert.features.get("cell_moments", image_shape=(64, 64, 3))
    settings = dataclasses.replace(SETTINGS, steps=2)
    photos = read_images(open_source("photos", "validation"), (64, 64))
    examples = TrainingDataset(feature, open_source("photos", "training"), settings)
    with few_measured():
        inverter, history, _ = train_inverter(
            feature, examples, photos, settings, tmp_path, strategies.make_strategy("one")
        )
    inverter.save(tmp_path / "saved")
    assert tfinvert.load(tmp_path / "saved").reconstruct(photos).shape == photos.shape
    assert history[-1]["step"] == 2
    with pytest.raises(tfinvert.InputError, match="multiples of 8"):
        tfinvert.features.get("cell_moments", image_shape=(60, 64, 3))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_of_the_documents_lead_to_files(document):
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    for name in links:
        assert (document.parent / name.split("#")[0]).exists(), name
