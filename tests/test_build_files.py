"""The BUILD files against the sources, without Bazel; a failure says what they should hold."""

import ast
import functools
import graphlib
import os
import pathlib
import re
import sys
from collections import namedtuple

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOT_SOURCE = re.compile(r"\..*|__pycache__|build|dist|env|venv|models|bazel-.*|.*\.egg-info")
PYTHON_RULES = ("py_library", "py_binary", "py_test")
Target = namedtuple("Target", "kind folder srcs data deps others")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PYTHONPATH = ast.literal_eval(re.search(r"^pythonpath = (.*)$", PYPROJECT, re.MULTILINE)[1])

# The distribution of an import, where the two names differ.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl_py",
    "cv2": "opencv_python_headless",
    "google": "protobuf",
    "skimage": "scikit_image",
    "sklearn": "scikit_learn",
    "tensorflow_serving": "tensorflow_serving_api",
}

# What the files of a folder may need, through others too: no arrow of the design points back.
NETWORKS = {"tfinvert/networks", "tfinvert/networks/weights"}
INVERTER = {"tfinvert", "tfinvert/data", "tfinvert/features"} | NETWORKS
RUN = {"tfinvert/reporting", "tfinvert/training"}
ANALYSIS = {"tfinvert/analysis", "tfinvert/analysis/baselines"}
LIBRARY = INVERTER | RUN | ANALYSIS | {"tfinvert/runs", "tfinvert/serving"}
MAY_NEED = {
    "tfinvert": INVERTER,
    "tfinvert/data": {"tfinvert"},
    "tfinvert/features": {"tfinvert"} | NETWORKS,
    "tfinvert/networks": {"tfinvert"},
    "tfinvert/networks/weights": {"tfinvert", "tfinvert/networks"},
    "tfinvert/runs": INVERTER | RUN | ANALYSIS,
    "tfinvert/analysis": INVERTER | {"tfinvert/analysis/baselines", "tfinvert/reporting"},
    "tfinvert/analysis/baselines": INVERTER,
    **dict.fromkeys(("tfinvert/reporting", "tfinvert/serving", "tfinvert/training"), INVERTER),
    **dict.fromkeys(("benchmarks", "export", "recipes"), LIBRARY),
    "tests": LIBRARY | {"benchmarks", "export", "recipes"},
}


def label_of(path):
    """The label of a file, relative to the root, in the package of its folder."""
    return f"//{path.parent.as_posix().removeprefix('.')}:{path.name}"


@functools.cache
def files():
    """Every file of the checkout that somebody wrote: its path by its label."""
    found = {}
    for top, folders, names in os.walk(ROOT):
        folders[:] = [name for name in sorted(folders) if not NOT_SOURCE.fullmatch(name)]
        paths = [pathlib.Path(top, name).relative_to(ROOT) for name in sorted(names)]
        found.update((label_of(path), path) for path in paths)
    return found


def absolute(label, folder):
    """`:x`, `x` and `//a/b` in full; what starts with @ stays."""
    if label.startswith("//"):
        return label if ":" in label else f"{label}:{label.rpartition('/')[2]}"
    return label if label[0] == "@" else f"//{folder}:{label.removeprefix(':')}"


@functools.cache
def read_builds():
    """The targets by label, the exported files' labels and each folder's `package` arguments."""
    targets, exported, packages = {}, set(), {}
    for path in [path for path in files().values() if path.name == "BUILD"]:
        folder = path.parent.as_posix().removeprefix(".")

        def rule(kind, name, srcs=(), data=(), deps=(), folder=folder, **others):
            label = f"//{folder}:{name}"
            assert label not in targets, f"{label} is declared twice"
            lists = [[absolute(x, folder) for x in given] for given in (srcs, data, deps)]
            targets[label] = Target(kind, folder, *lists, others)

        known = {kind: functools.partial(rule, kind) for kind in (*PYTHON_RULES, "filegroup")}
        known |= {word: lambda *_, **__: [] for word in ("load", "glob", "licenses")}
        known["package"] = lambda at=folder, **given: packages.update({at: given})
        known["exports_files"] = lambda xs, at=folder: exported.update(f"//{at}:{x}" for x in xs)
        exec((ROOT / path).read_text(encoding="utf-8"), known)
    return targets, exported & files().keys(), packages


@functools.cache
def owners():
    """The labels of the Python rules that list a source, by the source's label."""
    found = {x: [] for x in files() if x.endswith(".py") and x != "//:setup.py"}
    for label, target in read_builds()[0].items():
        for source in target.srcs if target.kind in PYTHON_RULES else []:
            found.setdefault(source, []).append(label)
    return found


def imports(path):
    """The dotted names that a file imports anywhere, inside functions too."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = (*path.parts[: -node.level], node.module) if node.level else (node.module,)
            yield from (".".join(filter(None, (*stem, alias.name))) for alias in node.names)


def provider(name):
    """The label of the file or the distribution an import needs; None for Python's own."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        stems = [pathlib.PurePath(folder, *parts[:end]) for folder in PYTHONPATH]
        paths = [path for stem in stems for path in (stem / "__init__.py", stem.with_suffix(".py"))]
        if found := [label_of(path) for path in paths if label_of(path) in files()]:
            return found[0]
    if parts[0] in sys.stdlib_module_names:
        return None
    return f"@pypi//{DISTRIBUTIONS.get(parts[0], parts[0])}"


def expected_deps(kind, sources, owner):
    """The deps in full of a rule over these labels of files; `owner`: the rule of each file."""
    paths = [files()[source] for source in sources]
    needed = {provider(name) for path in paths for name in imports(path)} - {None}
    if kind == "py_test":  # pytest runs it, and loads every conftest.py on the way to it
        conftests = {label_of(folder / "conftest.py") for folder in paths[0].parents}
        needed |= {"@pypi//pytest"} | (conftests & owner.keys())
    return {owner.get(label, label) for label in needed} - {owner.get(x) for x in sources}


def none(complaints):
    assert not complaints, "\n" + "\n".join(complaints)


def test_each_source_is_in_one_rule():
    none([f"{x}: in srcs of {y}, not of one rule" for x, y in owners().items() if len(y) != 1])


def test_each_test_file_has_a_target_that_pytest_runs():
    for label, path in files().items():
        if path.parts[0] == "tests" and path.match("test_*.py"):
            target = read_builds()[0].get(label.removesuffix(".py"))
            assert target is not None, f"{label}: has no py_test of its name"
            how = target.kind, target.others.get("main_module"), target.others.get("args", [])[-1:]
            assert how == ("py_test", "pytest", [path.as_posix()]), label
            assert "//:pyproject.toml" in target.data, f"{label}: data lacks //:pyproject.toml"


def test_labels_resolve_and_are_visible():
    targets, exported, packages = read_builds()
    for label, target in targets.items():
        top = target.folder.partition("/")[0]
        users = {"//visibility:public", f"//{target.folder}:__pkg__", f"//{top}:__subpackages__"}
        for needed in [x for x in target.srcs + target.data + target.deps if x[0] == "/"]:
            folder = needed[2:].partition(":")[0]
            there = targets.keys() | (files().keys() if folder == target.folder else exported)
            assert needed in there, f"{label}: there is no {needed}"
            seen = folder == target.folder or users & {*packages[folder]["default_visibility"]}
            assert seen, f"{label}: {needed} is not visible to it"


def test_deps_are_the_imports():
    owner = {label: rules[0] for label, rules in owners().items() if rules}
    complaints = []
    for label, target in read_builds()[0].items():
        if target.kind in PYTHON_RULES:
            deps = sorted(expected_deps(target.kind, target.srcs, owner))
            if sorted(target.deps) != deps:
                complaints.append(f"{label}: deps should be {deps}")
            if target.folder in PYTHONPATH and target.others.get("imports") != ["."]:
                complaints.append(f'{label}: imports should be ["."], as in pyproject.toml')
    none(complaints)


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


def test_needs_have_no_cycle_and_follow_the_arrows():
    targets = read_builds()[0]
    graph = {label: {*target.deps} & targets.keys() for label, target in targets.items()}
    reached, complaints = {}, []
    for label in graphlib.TopologicalSorter(graph).static_order():
        house = re.sub("^tests/.*", "tests", targets[label].folder)
        reached[label] = {house}.union(*(reached[needed] for needed in graph[label]))
        if wrong := reached[label] - {house} - MAY_NEED.get(house, set()):
            through = sorted(needed for needed in graph[label] if reached[needed] & wrong)
            complaints.append(f"{label} may not need {sorted(wrong)}, and does through {through}")
    none(complaints)
