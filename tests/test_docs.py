"""The examples, commands, tables and links of the documents."""

import json
import re
import subprocess
import sys

import loopback_server
import numpy as np
import pytest
import skimage.data
import yaml
from packaging.requirements import Requirement
from PIL import Image
from pymdownx.slugs import slugify

import tfinvert
from tests.documents import (
    DOCUMENTS,
    ROOT,
    blocks_in,
    code_blocks,
    deprecated_flags,
    docstring_commands,
    flag_errors,
    inline_commands,
    prose,
    read_document,
    relative_path,
    shell_commands,
)
from tests.programs import call
from tfinvert import features
from tfinvert.config.registry import EXPERIMENTS, Entry, Registry
from tfinvert.runs.gallery import exhibits_in_order
from tfinvert.serving import export_savedmodel
from tools.document_tables import TABLES, update_page

# The programs in the shell commands of the documents. Their arguments are parsed by the programs
# (below); the test named here also runs the program.
THIS_FILE = "tests/test_docs.py"
RUN_BY = {
    "curl": THIS_FILE,
    "tfinvert analyze": THIS_FILE,
    "tfinvert evaluate": THIS_FILE,
    "tfinvert export": THIS_FILE,
    "tfinvert reconstruct": THIS_FILE,
    "tfinvert serve-check": THIS_FILE,
    "tfinvert train": THIS_FILE,
    "tfinvert studio": "tests/studio/test_app.py",
    "tfinvert completion": "tests/commands/test_completion.py",
    "tfinvert features": "tests/commands/test_features.py",
    "tfinvert list": "tests/commands/test_list.py",
    "export/check_savedmodel.py": THIS_FILE,
    "export/compute_features.py": THIS_FILE,
    "export/export_savedmodel.py": THIS_FILE,
    "recipes/analyze.py": THIS_FILE,
    "recipes/claims.py": THIS_FILE,
    "recipes/evaluate.py": THIS_FILE,
    "recipes/gallery.py": THIS_FILE,
    "recipes/train_inverter.py": THIS_FILE,
    "tfinvert/serving/client.py": THIS_FILE,
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
NOT_RUN = {
    "benchmarks/feature_speed.py": "measures for minutes, and needs VLFeat",
    "benchmarks/serving.py": "measures for minutes",
    "benchmarks/network_accuracy.py": "needs 500 photographs of ImageNet",
    "benchmarks/studio_speed.py": "measures for minutes, in a browser",
    "benchmarks/training_speed.py": "measures for minutes",
    "docker": "needs an image from a registry",
    "kubectl": "needs a cluster",
    "pip": "installs from a registry",
    "tensorboard": "runs until it is stopped",
}
# Flags that reduce the run time of a documented command to seconds. Of two equal flags, absl uses
# the last.
REDUCED = {
    "analyze": [
        "--experiment=layers",
        "--max_images=8",
        "--gradient_images=2",
        "--gradient_steps=2",
        "--inverters=alexnet-conv5-64,alexnet-fc8-64",
    ],
    "evaluate": ["--max_images=4"],
    "train": [
        "--steps=2",
        "--batch_size=4",
        "--width=0.125",
        "--network=paper",
        "--optimizer=adam",
    ],
}
HISTORY = {"CHANGELOG.md"}  # may show flags by their former names
TESTED_LANGUAGES = ("json", "python", "shell", "text", "yaml")
REST, GRPC = "localhost:8501", "localhost:8500"  # addresses in the documents
PROGRAMS = [
    path
    for folder in ("recipes", "export", "benchmarks")
    for path in sorted((ROOT / folder).glob("*.py"))
]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty current folder with a few photographs, as a reader of the documents may have it."""
    names = ("a.jpg", "b.png", "photo.jpg", *(f"images/{i}/{i}.jpg" for i in range(4)))
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        crop = skimage.data.coffee()[40 * i :, 60 * i :][:128, :160]
        Image.fromarray(crop).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def image_size(path):
    with Image.open(path) as image:
        return image.size


def test_languages_of_code_blocks_are_tested():
    languages = {str(x): x.language for path in DOCUMENTS for x in code_blocks(path)}
    assert len(languages) > 30
    assert not {x: y for x, y in languages.items() if y not in TESTED_LANGUAGES}


@pytest.mark.parametrize(
    "block", [*blocks_in("json"), *blocks_in("yaml")], ids=lambda block: str(block)
)
def test_json_and_yaml_blocks_are_valid(block):
    load = {"json": json.loads, "yaml": lambda text: [*yaml.safe_load_all(text)]}
    assert load[block.language](block.text)


def check_readme(variables, output):
    (example,) = python_blocks("README.md")
    assert len(example.splitlines()) <= 10
    assert float(re.search(r"mean absolute error: ([\d.]+)", output)[1]) < 0.2


def check_layers(variables, output):
    assert variables["fc6"].shape == (1024,)
    assert variables["rebuilt"].shape == (64, 64, 3)


def check_inverters(variables, output):
    comparison, name = output.splitlines()
    assert comparison.startswith("Comparison(400×600 pixels, error=0.")
    assert name == "hog@2"


def check_analyses(variables, output):
    assert output.splitlines() == variables["result"].findings


def check_serving(variables, output):
    assert image_size("reconstruction.png") == (160, 128)


CHECKS = {
    "README.md": check_readme,
    "docs/alexnet.md": check_layers,
    "docs/analyses.md": check_analyses,
    "docs/inverters.md": check_inverters,
    "docs/serving.md": check_serving,
}
NEW_REPRESENTATION = "docs/adding-a-representation.md"  # files to write
# Pages whose blocks have tests of their own.
TESTED_ELSEWHERE = {NEW_REPRESENTATION, "docs/pairs.md"}
# Examples that take long; `make test` runs the others.
SLOW_EXAMPLES = {"docs/analyses.md", "docs/python.md", "docs/samples.md", "docs/serving.md"}


# Packages that the tests do not install: blocks that import one are skipped where it is missing.
OTHER_PACKAGES = {"timm", "torch", "torchvision", "transformers"}
# The weights that these blocks download are replaced by random ones.
RANDOM_WEIGHTS = {
    'weights="DEFAULT"': "weights=None",
    "pretrained=True": "pretrained=False",
    '.from_pretrained("openai/clip-vit-base-patch32")': "(transformers.CLIPVisionConfig())",
    "from transformers import": "import transformers; from transformers import",
}


def other_packages(block):
    """The packages among `OTHER_PACKAGES` that a block imports."""
    imported = re.findall(r"^(?:import|from) (\w+)", block.text, re.MULTILINE)
    return sorted(OTHER_PACKAGES & {*imported})


def python_blocks(document):
    return [x.text for x in blocks_in("python") if x.document == document]


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(x, marks=pytest.mark.slow if x in SLOW_EXAMPLES else ())
        for x in sorted({x.document for x in blocks_in("python")} - TESTED_ELSEWHERE)
    ],
)
def test_python_examples_run(document, workspace, capsys, request):
    """Executes the blocks of a document one after the other."""
    variables = {}
    for block in [x for x in blocks_in("python") if x.document == document]:
        if other_packages(block):
            continue  # see test_exports_run
        text = block.text
        if REST in text or GRPC in text:
            request.getfixturevalue("small_model")
            text = use_server(request.getfixturevalue("server"), text)
        exec(compile(text, str(block), "exec"), variables)
    CHECKS.get(document, lambda *_: None)(variables, capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("block", [*filter(other_packages, blocks_in("python"))], ids=str)
def test_exports_run(block, workspace):
    """Executes a block that exports `model` to ONNX, and compares the feature with the model."""
    for package in other_packages(block):
        pytest.importorskip(package)
    text, variables = block.text, {}
    for published, random in RANDOM_WEIGHTS.items():
        text = text.replace(published, random)
    exec(compile(text, str(block), "exec"), variables)
    images = np.random.default_rng(0).random((3, 224, 224, 3), np.float32)
    outputs = variables["model"](variables["torch"].from_numpy(images.transpose(0, 3, 1, 2).copy()))
    (path,) = workspace.glob("*.onnx")
    output = re.search(r'output_names=\["(\w+)"', text)[1]
    feature = features.get(f"onnx:{path},output={output}", image_shape=(224, 224, 3))
    values = np.asarray(feature(images))
    outputs = (outputs if hasattr(outputs, "detach") else outputs[0]).detach().numpy()
    if values.ndim == 4:  # tokens behind a class token
        outputs = outputs[:, 1:].reshape(values.shape)
    np.testing.assert_allclose(values, outputs, atol=1e-4 * np.abs(outputs).max())


@pytest.fixture
def models(workspace):
    return loopback_server.ModelFolder(workspace / "models")


@pytest.fixture
def small_model(models, workspace, inverter):
    export_savedmodel(inverter, workspace / "models" / "hog")
    models.version("hog", None)  # loads it


@pytest.fixture
def server(models):
    """A loopback server for the models in the workspace."""
    with loopback_server.Server(models) as server:
        yield server


def use_server(server, text):
    """Replaces the addresses in a text with those of the server."""
    text = text.replace(REST, f"127.0.0.1:{server.rest_port}")
    return text.replace(GRPC, f"127.0.0.1:{server.grpc_port}")


def shell_texts(path):
    """Returns the shell code in a document or in the docstring of a program, by its location."""
    if path.suffix == ".py":
        return {relative_path(path): docstring_commands(path)}
    texts = {str(x): x.text for x in code_blocks(path) if x.language == "shell"}
    return texts | {relative_path(path): inline_commands(path)}


@pytest.fixture(scope="module")
def documented_arguments(tmp_path_factory):
    """Lists of arguments in the documents, with their locations, by program."""
    found = {}
    for path in [*DOCUMENTS, *PROGRAMS]:
        for location, text in shell_texts(path).items():
            if text:
                for words in shell_commands(text, tmp_path_factory.mktemp("commands")):
                    program, arguments = split_program(words)
                    found.setdefault(program, []).append((location, arguments))
    return found


def split_program(words):
    """Returns the name of a program, as in `RUN_BY`, and its arguments."""
    if words[0] == "tfinvert":
        return " ".join(words[:2]), words[2:]
    start = words.index(next(x for x in words if x not in ("python", "-m")))
    return words[start], words[start + 1 :]


def short_name(program):
    return re.split(r"[/. ]", program.removesuffix(".py"))[-1]


def test_documented_programs_are_run_or_excluded(documented_arguments):
    assert documented_arguments.keys() == RUN_BY.keys() | NOT_RUN.keys()
    assert not RUN_BY.keys() & NOT_RUN.keys()
    assert all((ROOT / test).is_file() for test in RUN_BY.values())


@pytest.mark.parametrize("program", NOT_RUN)
def test_excluded_program(program):
    pytest.skip(f"{program} is not run: {NOT_RUN[program]}")


def check_pip(arguments):
    """Checks package names, and that setup.py has the extras."""
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    extras = {*re.findall(r'^        "(\w+)": \[', setup, re.MULTILINE)}
    for argument in [x for x in arguments[1:] if not x.startswith("-")]:
        requirement = Requirement(re.sub(r"^\.", "tfinvert", argument))
        if requirement.name == "tfinvert" and not requirement.extras <= extras:
            return f"setup.py does not have all of {requirement.extras}"


def check_make(arguments):
    command = ["make", "--dry-run", *arguments]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return finished.stderr if finished.returncode else None


def check_docker(arguments):
    file = arguments[arguments.index("-f") + 1]
    return None if yaml.safe_load((ROOT / file).read_text("utf-8"))["services"] else "no services"


def check_kubectl(arguments):
    return None if (ROOT / arguments[-1] / "kustomization.yml").is_file() else "no kustomization"


def check_tensorboard(arguments):
    # In a process of its own, because TensorBoard's modules emit warnings when they are imported.
    program = (
        "import sys; from tensorboard.program import TensorBoard as T; T().configure(sys.argv)"
    )
    command = [sys.executable, "-c", program, *arguments]
    finished = subprocess.run(command, capture_output=True, text=True)
    return finished.stderr if finished.returncode else None


def check_no_arguments(arguments):
    return arguments or None


def run_with_arguments(arguments):
    """Accepts anything: the test in `RUN_BY` runs the program with such arguments."""


CHECK_ARGUMENTS = {
    "docker": check_docker,
    "kubectl": check_kubectl,
    "make": check_make,
    "pip": check_pip,
    "tensorboard": check_tensorboard,
    "benchmarks/feature_speed.py": check_no_arguments,
    "apache_beam.runners.portability.local_job_service_main": run_with_arguments,
    "pytest": run_with_arguments,
    "curl": run_with_arguments,
    "tfinvert/serving/client.py": run_with_arguments,
    # These need JAX; tests/test_gpu_tools.py checks their flags.
    **dict.fromkeys([x for x in RUN_BY if x.startswith("tools/gpu/")], run_with_arguments),
}


@pytest.mark.parametrize("program", sorted(RUN_BY.keys() | NOT_RUN.keys()))
def test_program_accepts_documented_arguments(program, documented_arguments):
    locations, lists = zip(*documented_arguments[program], strict=True)
    if program in CHECK_ARGUMENTS:
        errors = [CHECK_ARGUMENTS[program](arguments) for arguments in lists]
    else:
        errors = flag_errors(program, lists)
        current = [y for x, y in zip(locations, lists, strict=True) if x not in HISTORY]
        assert not deprecated_flags(program, [x for arguments in current for x in arguments])
    assert not [x for x in zip(locations, lists, errors, strict=True) if x[-1]]


def run_program(program, *arguments, cwd):
    """Runs a program of the checkout, or a command of `tfinvert`."""
    file, *command = program.split()
    return call("tfinvert/__main__.py" if command else file, *command, *arguments, cwd=cwd)


@pytest.mark.slow
def test_commands_of_the_readme_run(workspace):
    """Runs the commands in the README's table one after the other, reduced in size."""
    (workspace / "parsed").mkdir()
    for words in shell_commands(inline_commands(ROOT / "README.md"), workspace / "parsed"):
        program, arguments = split_program(words)
        if RUN_BY.get(program) == THIS_FILE:
            arguments = [x.replace("folder:/images", "folder:images") for x in arguments]
            reduced = REDUCED.get(short_name(program), ())
            finished = run_program(program, *arguments, *reduced, cwd=workspace)
            assert not finished.returncode, f"{words}\n{finished.stderr}"
    written = ("grid.png", "runs/look/report.html", "claims.md", "gallery.md", "features.npy")
    assert all((workspace / name).stat().st_size for name in written)


@pytest.mark.slow
def test_commands_of_serving_run(workspace, server):
    """Runs the blocks of docs/serving.md one after the other, against the loopback server."""
    blocks = [x.text for x in code_blocks(ROOT / "docs" / "serving.md") if x.language == "shell"]
    run = [x for x in blocks if not re.search("docker|kubectl|benchmarks", x)]
    for number, text in enumerate(use_server(server, x) for x in run):
        if "python" in text:
            (workspace / f"parsed{number}").mkdir()
            commands = shell_commands(text, workspace / f"parsed{number}")
        else:
            commands = [["bash", "-euo", "pipefail", "-c", text]]
        for words in commands:
            if words[0] == "python":
                finished = call(*words[1:], cwd=workspace)
            else:
                finished = subprocess.run(
                    words, cwd=workspace, capture_output=True, text=True, timeout=120
                )
            assert not finished.returncode, f"{words}\n{finished.stderr}"
        if "curl" in text:
            response = json.loads(finished.stdout[finished.stdout.index("{") :])
            (prediction,) = response["predictions"]
            assert "b64" in prediction or len(prediction) == 64
    assert image_size(workspace / "reconstruction.png")[0] in (64, 160)


@pytest.mark.parametrize("page", TABLES)
def test_tables_are_up_to_date(page):
    assert read_document(ROOT / page) == update_page(page, ROOT), "run `make tables`"


def test_experiments_are_documented():
    text = read_document(ROOT / "docs" / "analyses.md")
    named = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(named) == sorted(EXPERIMENTS)


def test_gallery_shows_exhibits():
    """Each section is an exhibit, with its text, figures and claim, in order."""
    sections = read_document(ROOT / "docs" / "gallery.md").split("\n### ")[1:]
    claims = read_document(ROOT / "docs" / "claims.md")
    exhibits = {exhibit.heading: (name, exhibit) for name, exhibit in exhibits_in_order()}
    headings = [section.partition("\n")[0] for section in sections]
    assert headings == [heading for heading in exhibits if heading in headings]
    for heading, section in zip(headings, sections, strict=True):
        name, exhibit = exhibits[heading]
        titles = re.findall(r"!\[([^\]]+)\]", section)
        assert titles and all(title.startswith(exhibit.figure) for title in titles), heading
        assert exhibit.text in section and f"Experiment `{name}`." in section, heading
        assert f"| {name} | {exhibit.finding}" in claims or not exhibit.finding, heading


def test_gallery_pictures_exist_and_are_small():
    page = ROOT / "docs" / "gallery.md"
    named = re.findall(r"\((gallery/[^)]+)\)", read_document(page))
    files = [path for path in page.with_suffix("").rglob("*") if path.is_file()]
    assert sorted(named) == sorted(path.relative_to(page.parent).as_posix() for path in files)
    assert sum(path.stat().st_size for path in files) <= 2_500_000


def test_new_representation_computes_features(photos, tmp_path, monkeypatch):
    """Writes the file of the document, and looks the class up by the document's registry entry."""
    module, _ = python_blocks(NEW_REPRESENTATION)
    (tmp_path / "cell_moments.py").write_text(module, encoding="utf-8")
    monkeypatch.setattr(features, "__path__", [*features.__path__, str(tmp_path)])
    (entry,) = [x.text for x in blocks_in("text") if x.document == NEW_REPRESENTATION]
    entries = eval(f"{{{entry}}}", {"Entry": Entry})
    feature_class = Registry(entries)["cell_moments"]
    outputs = feature_class(image_shape=(64, 64, 3))(photos[:2]).numpy()
    cell = photos[1, 8:16, 16:24].reshape(-1, 3)
    expected = np.concatenate([cell.mean(0), cell.std(0)])
    np.testing.assert_allclose(outputs[1, 1, 2], expected, atol=1e-5)
    with pytest.raises(tfinvert.InputError, match="multiples of 8"):
        feature_class(image_shape=(60, 64, 3))


TRAIN_NEW_REPRESENTATION = """
import pathlib

from tfinvert.data.open_source import open_source
from tfinvert.metrics.evaluation import read_images
from tfinvert.runs.training import TrainingRun, run_training
from tfinvert.training.settings import Settings

run = run_training(
    TrainingRun(feature="cell_moments", data="photos", image_size=64),
    Settings(steps=2, batch_size=4, width=0.125, network="paper", optimizer="adam", warmup_steps=1),
    pathlib.Path("run"),
)
photos = read_images(open_source("photos", "validation"), (64, 64))
assert tfinvert.load(run / "inverter").reconstruct(photos).shape == photos.shape
"""


@pytest.mark.slow
def test_new_representation_can_be_trained(tmp_path):
    """Follows the document in a process of its own, since it registers a feature."""
    module, line = python_blocks(NEW_REPRESENTATION)
    (tmp_path / "cell_moments.py").write_text(module, encoding="utf-8")
    line = line.replace("tfinvert.features.cell_moments", "cell_moments")
    program = f"{line}\n{TRAIN_NEW_REPRESENTATION}"
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    finished = call(tmp_path / "program.py", cwd=tmp_path)
    assert not finished.returncode, finished.stderr
    history = (tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(history[-1])["step"] == 2


def anchors(document):
    """Returns the anchors of a document's headings, as GitHub generates them."""
    headings = re.findall(r"^#+ (.*)", prose(document), re.MULTILINE)
    texts = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {slugify(case="lower")(text, "-") for text in texts}


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative_path)
def test_links_lead_to_files_and_headings(document):
    for link in re.findall(r"\]\(([^)]+)\)", prose(document)):
        if "://" not in link:
            path, _, fragment = link.partition("#")
            target = (document.parent / path).resolve() if path else document
            assert target.exists(), link
            assert not fragment or fragment in anchors(target), link
