"""The BUILD files against the sources, without Bazel: `make build-files` writes them."""

import ast
import fnmatch
import functools
import graphlib
import pathlib
import re
from collections import namedtuple

import pytest

from tools.build_files import TESTS, Tree, folder_of, write

ROOT = pathlib.Path(__file__).resolve().parents[1]
PYTHON_RULES = ("py_library", "py_binary", "py_test")
Target = namedtuple("Target", "kind folder srcs data deps others")

# What the files of a folder may need, through others too: no arrow of the design points back.
NETWORKS = {"tfinvert/networks", "tfinvert/networks/weights"}
INVERTER = {"tfinvert", "tfinvert/data", "tfinvert/features"} | NETWORKS
RUN = {"tfinvert/reporting", "tfinvert/training", "tfinvert/training/losses"}
ANALYSIS = {"tfinvert/analysis", "tfinvert/analysis/baselines"}
LIBRARY = INVERTER | RUN | ANALYSIS | {"tfinvert/bulk", "tfinvert/runs", "tfinvert/serving"}
COMMANDS = {"tfinvert/commands", "tfinvert/commands/flags", "tfinvert/studio"}
MAY_NEED = {
    "tfinvert": INVERTER,
    "tfinvert/data": {"tfinvert"},
    "tfinvert/features": {"tfinvert"} | NETWORKS,
    "tfinvert/networks": {"tfinvert"},
    "tfinvert/networks/weights": {"tfinvert", "tfinvert/networks"},
    "tfinvert/bulk": INVERTER | RUN,
    "tfinvert/runs": INVERTER | RUN | ANALYSIS,
    "tfinvert/studio": INVERTER | ANALYSIS | {"tfinvert/reporting"},
    "tfinvert/analysis": INVERTER | {"tfinvert/analysis/baselines", "tfinvert/reporting"},
    "tfinvert/analysis/baselines": INVERTER,
    **dict.fromkeys(("tfinvert/reporting", "tfinvert/serving"), INVERTER),
    "tfinvert/training": INVERTER | {"tfinvert/training/losses"},
    "tfinvert/training/losses": INVERTER | {"tfinvert/training"},
    "tfinvert/commands": LIBRARY | COMMANDS,
    "tfinvert/commands/flags": {"tfinvert", "tfinvert/runs", "tfinvert/training"},
    **dict.fromkeys(("benchmarks", "export", "recipes"), LIBRARY | COMMANDS),
    "tests": LIBRARY | COMMANDS | {"benchmarks", "export", "recipes", "tools", "tools/gpu"},
    "tools": set(),
    "tools/gpu": LIBRARY,
}


@functools.cache
def tree():
    return Tree(ROOT)


@functools.cache
def read_builds():
    """What the BUILD files say: targets by label, exported labels, `package` arguments."""
    targets, exported, packages = {}, set(), {}
    for path in [path for path in tree().files if path.rpartition("/")[2] == "BUILD"]:
        folder = folder_of(path)

        def full(label, folder=folder):
            if label.startswith("//"):
                return label if ":" in label else f"{label}:{label.rpartition('/')[2]}"
            return label if label[0] == "@" else f"//{folder}:{label.removeprefix(':')}"

        def rule(kind, name, srcs=(), data=(), deps=(), folder=folder, full=full, **others):
            label = f"//{folder}:{name}"
            assert label not in targets, f"{label} is declared twice"
            lists = [[full(x) for x in given] for given in (srcs, data, deps)]
            targets[label] = Target(kind, folder, *lists, others)

        def glob(patterns, exclude=(), folder=folder):
            prefix = f"{folder}/" if folder else ""
            deeper = tuple(f"{x}/" for x in tree().folders if x.startswith(prefix) and x != folder)
            near = [x for x in tree().files if x.startswith(prefix) and not x.startswith(deeper)]
            names = [x.removeprefix(prefix) for x in near]
            found = [[x for x in names if matches(x, pattern)] for pattern in patterns]
            assert all(found), f"{folder}/BUILD: a pattern of {patterns} matches nothing"
            return sorted(x for x in sum(found, []) if not any(matches(x, y) for y in exclude))

        known = {kind: functools.partial(rule, kind) for kind in (*PYTHON_RULES, "filegroup")}
        known |= {word: lambda *_, **__: [] for word in ("load", "licenses")} | {"glob": glob}
        known["package"] = lambda at=folder, **given: packages.update({at: given})
        known["exports_files"] = lambda xs, full=full: exported.update(full(x) for x in xs)
        exec((ROOT / path).read_text(encoding="utf-8"), known)
    return targets, exported, packages


def matches(name, pattern):
    """As Bazel's glob: a star stays within a folder."""
    parts = name.split("/"), pattern.split("/")
    return len(parts[0]) == len(parts[1]) and all(map(fnmatch.fnmatchcase, *parts))


def label_of(path):
    """The label of a file, in the package that its folder or the nearest one above it is."""
    above = [folder for folder in tree().folders if path.startswith(f"{folder}/")]
    folder = max(above, key=len, default="")
    return f"//{folder}:{path.removeprefix(f'{folder}/')}"


def none(complaints):
    assert not complaints, "\n" + "\n".join(complaints)


def test_the_build_files_are_what_make_build_files_writes():
    texts = tree().build_files()
    there = {path for path in tree().files if path.rpartition("/")[2] == "BUILD"}
    old = [x for x, y in texts.items() if x in there and (ROOT / x).read_text("utf-8") != y]
    none([f"{path}: run `make build-files`" for path in sorted(there ^ texts.keys()) + old])


def test_each_source_is_in_one_rule():
    owners = {label_of(source): [] for source in tree().sources}
    for label, target in read_builds()[0].items():
        for source in target.srcs if target.kind in PYTHON_RULES else []:
            owners.setdefault(source, []).append(label)
    none([f"{x}: in srcs of {y}, not of one rule" for x, y in owners.items() if len(y) != 1])


def test_each_test_file_has_a_target_that_pytest_runs():
    tests = [x for x in tree().sources if fnmatch.fnmatch(x, f"{TESTS}/*test_*.py")]
    assert len(tests) > 50
    for path in tests:
        target = read_builds()[0].get(label_of(path).removesuffix(".py"))
        assert target is not None, f"{path}: has no py_test of its name"
        how = target.kind, target.others.get("main_module"), target.others.get("args", [])[-1:]
        assert how == ("py_test", "pytest", [path])
        assert "//:pyproject.toml" in target.data, f"{path}: data lacks //:pyproject.toml"


def test_labels_resolve_and_are_visible():
    targets, exported, packages = read_builds()
    files = {label_of(path) for path in tree().files}
    for label, target in targets.items():
        top = target.folder.partition("/")[0]
        users = {"//visibility:public", f"//{target.folder}:__pkg__", f"//{top}:__subpackages__"}
        for needed in [x for x in target.srcs + target.data + target.deps if x[0] == "/"]:
            folder = needed[2:].partition(":")[0]
            there = targets.keys() | (files if folder == target.folder else exported & files)
            assert needed in there, f"{label}: there is no {needed}"
            seen = folder == target.folder or users & {*packages[folder]["default_visibility"]}
            assert seen, f"{label}: {needed} is not visible to it"


def test_what_ships_is_data_of_the_package():
    data = {x for target in read_builds()[0].values() for x in target.data}
    assert "//tfinvert:inverters/hog-64/weights.npz" in data
    assert "//tfinvert/networks/weights:files/squeezenet.safetensors" in data


def test_files_need_each_other_in_no_circle_and_follow_the_arrows():
    complaints = []
    for source, reached in tree().reached.items():
        house = re.sub("^tests/.*", "tests", folder_of(source))
        if house not in MAY_NEED:
            complaints.append(f"{source}: MAY_NEED does not say what {house} may need")
        houses = {re.sub("^tests/.*", "tests", folder_of(x)) for x in reached} - {house}
        if wrong := houses - MAY_NEED.get(house, set()):
            complaints.append(f"{source} may not need {sorted(wrong)}")
    none(complaints)


def test_targets_need_each_other_in_no_circle():
    targets = read_builds()[0]
    graph = {label: {*target.deps} & targets.keys() for label, target in targets.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_distributions_are_in_setup_and_locked():
    setup = ast.walk(ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")))
    given = {node.arg: node.value for node in setup if isinstance(node, ast.keyword)}
    needs, extras = (ast.literal_eval(given[x]) for x in ("install_requires", "extras_require"))
    texts = "\n".join(sum(extras.values(), needs)), (ROOT / "requirements_lock.txt").read_text()
    texts = [text.lower().replace("-", "_") for text in texts]
    found = [dict(re.findall(r"(?m)^(\w+).*?=(\d+(?:\.\d+)*)", text)) for text in texts]
    asked, locked = ({x: [*map(int, y.split("."))] for x, y in pairs.items()} for pairs in found)
    used = {x[7:] for target in read_builds()[0].values() for x in target.deps if x[0] == "@"}
    none([f"setup.py asks for no {name}" for name in sorted(used - asked.keys())])
    old = {x for x in used | (asked.keys() & locked.keys()) if locked.get(x, []) < asked[x]}
    none([f"requirements_lock.txt has no {x} that suits setup.py" for x in sorted(old)])


@pytest.fixture
def small(tmp_path):
    """Writes a checkout, and gives what its BUILD files are."""
    project = {
        "pyproject.toml": 'pythonpath = ["."]\n',
        "setup.py": 'setup(package_data={"tfinvert": ["shipped/*/*"]})\n',
        "tfinvert/errors.py": "import os\n",
        "tfinvert/inverter.py": "import numpy as np\nfrom tfinvert.data import crops\n",
        "tfinvert/shipped/hog/weights.npz": "",
        "tfinvert/data/crops.py": "from tfinvert.errors import InputError\n",
        "tests/data/test_crops.py": "def test():\n    from tfinvert.data import crops\n",
        "recipes/train.py": "import torch\nimport tfinvert.inverter\n\n"
        "if __name__ == '__main__':\n    pass\n",
    }

    def build(**changes):
        for path, text in (project | changes).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
        write(tmp_path)
        return {
            path.parent.relative_to(tmp_path).as_posix(): path.read_text(encoding="utf-8")
            for path in tmp_path.rglob("BUILD")
        }

    return build


def test_a_folder_that_needs_what_needs_it_is_two_libraries(small):
    texts = small()
    assert texts.keys() == {".", "tfinvert", "tfinvert/data", "tests/data", "recipes"}
    base, whole = texts["tfinvert"].split("py_library(\n")[1:]
    assert 'name = "base"' in base and 'srcs = ["errors.py"]' in base and "deps" not in base
    assert 'srcs = ["inverter.py"]' in whole and 'data = glob(["shipped/*/*"])' in whole
    assert '"//tfinvert/data",\n        "@pypi//numpy",\n' in whole
    assert 'srcs = glob(["*.py"])' in texts["tfinvert/data"]
    assert 'deps = ["//tfinvert:base"]' in texts["tfinvert/data"]
    assert '"//tfinvert/data",\n' in texts["tests/data"]
    assert 'py_binary(\n    name = "train"' in texts["recipes"]
    assert 'deps = ["//tfinvert"]' in texts["recipes"]


def test_folders_that_need_each_other_are_refused(small):
    with pytest.raises(graphlib.CycleError) as caught:
        small(**{"tfinvert/data/crops.py": "import tfinvert.inverter\n"})
    assert "tfinvert/inverter.py" in caught.value.args[1]
    with pytest.raises(graphlib.CycleError) as caught:  # folders, and no two files
        small(
            **{
                "tfinvert/data/open.py": "import tfinvert.training.step\n",
                "tfinvert/training/step.py": "",
                "tfinvert/training/loop.py": "import tfinvert.data.crops\n",
            }
        )
    assert {"//tfinvert/data:data", "//tfinvert/training:training"} <= {*caught.value.args[1]}


def test_build_files_of_folders_without_sources_are_removed(small, tmp_path):
    small(**{"tfinvert/old/BUILD": "x\n"})
    assert not (tmp_path / "tfinvert/old/BUILD").exists()
