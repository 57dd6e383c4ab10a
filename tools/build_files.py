"""Writes the BUILD files from the sources: `make build-files`.

A folder of the package is one library, whose deps are the folders and distributions that its files
import; so are the helpers of a folder of tests or programs. A program is a target, and a test.
A folder that its own sub-folders need and that needs them is two libraries: `base` holds the files
that need no sub-folder.
"""

import ast
import fnmatch
import functools
import graphlib
import os
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

NOT_SOURCE = re.compile(r"\..*|__pycache__|build|dist|env|venv|bazel-.*|.*\.egg-info")
NOT_SOURCE_AT_TOP = {"models", "runs", "site"}  # what programs write
PACKAGE = "tfinvert"
TESTS = "tests"

# The distribution of an import, where the two names differ.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl_py",
    "cv2": "opencv_python_headless",
    "google": "protobuf",
    "grpc": "grpcio",
    "skimage": "scikit_image",
    "sklearn": "scikit_learn",
    "tensorflow_serving": "tensorflow_serving_api",
    "yaml": "pyyaml",
}
# What is used where it is installed, and never asked for.
OPTIONAL = {"efficientnet_lite_pytorch", "torch"}

# What tests read or start and do not import, by their folder.
TEST_DATA = {
    "tests": [
        "//:project",
        "//benchmarks:programs",
        "//export:programs",
        "//recipes:programs",
        "//tools/gpu:programs",
    ],
    "tests/benchmarks": ["//benchmarks:programs"],
    "tests/commands": ["//export:programs", "//recipes:programs"],
    "tests/recipes": ["//recipes:programs"],
    "tests/serving": ["//export:programs"],
}
# These look at the checkout itself, which a sandbox does not hold.
LOCAL_TESTS = {
    "tests/serving/test_configuration.py": ["external", "local"],
    "tests/test_build_files.py": ["external", "local"],
}

TOP = """\
package(default_visibility = ["//visibility:public"])

licenses(["notice"])

exports_files([
    "pyproject.toml",
    "requirements_lock.txt",
])

filegroup(
    name = "project",
    srcs = glob([
        "docs/**",
        "notebooks/*",
    ]) + [
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "mkdocs.yml",
        "pyproject.toml",
        "setup.py",
    ],
)
"""


class Tree:
    """The Python files of a checkout, what they import, and the target that each is in.

    Files are paths relative to the root, with slashes; targets are labels.
    """

    def __init__(self, root: pathlib.Path):
        self.root = root
        project = (root / "pyproject.toml").read_text(encoding="utf-8")
        #: The folders that imports start from.
        self.pythonpath = ast.literal_eval(
            re.search(r"^pythonpath = (.*)$", project, re.MULTILINE)[1]
        )
        #: Every file that somebody wrote.
        self.files = sorted(self._walk())
        self.sources = [x for x in self.files if x.endswith(".py") and x != "setup.py"]
        #: The folders that hold sources.
        self.folders = sorted({folder_of(source) for source in self.sources})
        #: For each source the sources and the distributions (`@pypi//name`) that it imports.
        self.needs = {}
        #: What lies beside the package and is started.
        self.programs = set()
        for source in self.sources:
            text = (root / source).read_text(encoding="utf-8")
            self.needs[source] = {*self._needs(text, source)} - {source}
            if not source.startswith(f"{PACKAGE}/") and "\nif __name__ ==" in text:
                self.programs.add(source)

    def _walk(self) -> Iterator[str]:
        for top, folders, names in os.walk(self.root):
            at = pathlib.Path(top).relative_to(self.root)
            skip = NOT_SOURCE_AT_TOP if at == pathlib.Path() else set()
            folders[:] = [x for x in folders if not NOT_SOURCE.fullmatch(x) and x not in skip]
            yield from ((at / name).as_posix() for name in names)

    def _needs(self, text: str, source: str) -> Iterator[str]:
        for name in imported_names(text, source):
            parts = name.split(".")
            for end in range(len(parts), 0, -1):
                stems = [pathlib.PurePath(folder, *parts[:end]) for folder in self.pythonpath]
                paths = [y.as_posix() for x in stems for y in (x / "__init__.py", _python(x))]
                if found := [path for path in paths if path in self._known]:
                    yield found[0]
                    break
            else:
                if parts[0] not in sys.stdlib_module_names | OPTIONAL:
                    yield f"@pypi//{DISTRIBUTIONS.get(parts[0], parts[0])}"

    @functools.cached_property
    def _known(self) -> set[str]:
        return {*self.sources}

    @functools.cached_property
    def reached(self) -> dict[str, set[str]]:
        """The sources that each source needs, through others too.

        Raises:
          graphlib.CycleError: sources need each other.
        """
        graph = {source: needs & self._known for source, needs in self.needs.items()}
        reached: dict[str, set[str]] = {}
        for source in graphlib.TopologicalSorter(graph).static_order():
            reached[source] = graph[source].union(*(reached[x] for x in graph[source]))
        return reached

    @functools.cached_property
    def owner(self) -> dict[str, str]:
        """The label of the target that each source is in."""
        owner = {}
        for folder in self.folders:
            base = self._base(folder)
            for source in self.within(folder):
                stem = pathlib.PurePath(source).stem
                if self.is_test(source) or source in self.programs:
                    name = stem
                elif folder.startswith(TESTS):
                    name = "support"
                else:
                    name = "base" if source in base else folder.rpartition("/")[2]
                owner[source] = f"//{folder}:{name}"
        return owner

    def within(self, folder: str) -> list[str]:
        """The sources that lie in a folder, those of its sub-folders not among them."""
        return [source for source in self.sources if folder_of(source) == folder]

    def is_test(self, source: str) -> bool:
        """Whether pytest collects it."""
        name = source.rpartition("/")[2]
        return source.startswith(f"{TESTS}/") and fnmatch.fnmatch(name, "test_*.py")

    def _base(self, folder: str) -> set[str]:
        """The sources of a folder that need none of its sub-folders, where it has to be split."""
        here = {*self.within(folder)}
        below = {x for x in self.sources if folder_of(x).startswith(f"{folder}/")}
        base = {source for source in here if not self.reached[source] & below}
        split = any(self.needs[x] & here for x in below) and base != here
        return base if split and folder.startswith(PACKAGE) else set()

    def deps(self, sources: Iterable[str]) -> list[str]:
        """The labels that the target of these sources needs."""
        sources = [*sources]
        needed = {x for source in sources for x in self.needs[source]}
        if any(map(self.is_test, sources)):  # pytest runs it, and every conftest.py on the way
            needed.add("@pypi//pytest")
            folders = [*pathlib.PurePath(sources[0]).parents]
            needed |= {(x / "conftest.py").as_posix() for x in folders} & self._known
        labels = {self.owner.get(x, x) for x in needed} - {self.owner[x] for x in sources}
        folder = folder_of(sources[0])
        return sorted((_short(x, folder) for x in labels), key=_order)

    def package_data(self) -> dict[str, list[str]]:
        """The patterns of the files that setup.py ships, by the folder of their library."""
        setup = ast.walk(ast.parse((self.root / "setup.py").read_text(encoding="utf-8")))
        given = {node.arg: node.value for node in setup if isinstance(node, ast.keyword)}
        found: dict[str, list[str]] = {}
        for package, patterns in ast.literal_eval(given["package_data"]).items():
            for pattern in patterns:
                path = f"{package}/{pattern}"
                folder = max((x for x in self.folders if path.startswith(f"{x}/")), key=len)
                found.setdefault(folder, []).append(path.removeprefix(f"{folder}/"))
        return found

    def build_files(self) -> dict[str, str]:
        """The text of every BUILD file, by its path.

        Raises:
          graphlib.CycleError: libraries need each other.
        """
        graph = {label: set() for label in self.owner.values()}
        for source, needs in self.needs.items():
            graph[self.owner[source]] |= {self.owner[x] for x in needs & self._known}
        for label, needs in graph.items():
            needs.discard(label)
        graphlib.TopologicalSorter(graph).prepare()
        return {"BUILD": TOP} | {f"{x}/BUILD": self._build_file(x) for x in self.folders}

    def _build_file(self, folder: str) -> str:
        tests = [x for x in self.within(folder) if self.is_test(x)]
        programs = [x for x in self.within(folder) if x in self.programs]
        parts = [*self._libraries(folder), *self._programs(folder, programs)]
        parts += self._tests(folder, tests)
        rules = sorted({*re.findall(r"\bpy_\w+(?=\()", "\n".join(parts))})
        load = call("load", "@rules_python//python:defs.bzl", *rules, on_one_line=True)
        if folder.startswith(PACKAGE):
            package = {"default_visibility": ["//visibility:public"]}
        else:
            package = {"default_visibility": ["//tests:__subpackages__"]}
        if folder.startswith(TESTS):
            package = {"default_testonly": True} | package
        return "\n".join([load, call("package", **package), *parts])

    def _imports(self, folder: str) -> dict[str, list[str]]:
        return {"imports": ["."]} if folder in self.pythonpath else {}

    def _libraries(self, folder: str) -> Iterator[str]:
        kinds: dict[str, list[str]] = {}
        for source in self.within(folder):
            if not self.is_test(source) and source not in self.programs:
                kinds.setdefault(self.owner[source], []).append(source)
        patterns = self.package_data().get(folder)
        for label, sources in sorted(kinds.items()):
            name = label.rpartition(":")[2]
            whole = sources == self.within(folder)
            names = [source.rpartition("/")[2] for source in sources]
            data = Code(f"glob({_list(patterns)})") if patterns and name != "base" else []
            yield call(
                "py_library",
                name=name,
                srcs=Code(self._glob(folder, sources)) if whole else names,
                data=data,
                **self._imports(folder),
                deps=self.deps(sources),
            )

    def _programs(self, folder: str, programs: list[str]) -> Iterator[str]:
        yield from self._each("py_binary", programs, self._imports(folder))
        if programs and not folder.startswith(TESTS):
            names = Code(f"[file[:-3] for file in {self._glob(folder, programs)}]")
            yield call("filegroup", name="programs", data=names)

    def _tests(self, folder: str, tests: list[str]) -> Iterator[str]:
        if not tests:
            return
        near = [x.removeprefix(f"{folder}/") for x in self.files if folder_of(x) == folder]
        data = [x for x in near if not x.endswith(".py") and x != "BUILD"]
        data += ["//:pyproject.toml"]
        data += [label for label in TEST_DATA.get(folder, []) if self._exists(label)]
        common = {"data": sorted(data, key=_order), "main_module": "pytest"}
        for source in sorted(LOCAL_TESTS.keys() & {*tests}):
            yield from self._each("py_test", [source], common | {"tags": LOCAL_TESTS[source]})
        yield from self._each("py_test", [x for x in tests if x not in LOCAL_TESTS], common)

    def _each(self, rule: str, sources: list[str], common: dict[str, Any]) -> Iterator[str]:
        """A target a file, with what any of the files needs; those needed by others come alone."""
        needed = {x for x in sources for y in sources if x in self.needs[y]}
        alone = [[x] for x in sources if x in needed]
        for group in [*alone, [x for x in sources if x not in needed]]:
            folder = folder_of(sources[0]) if sources else ""
            names = [source.removeprefix(f"{folder}/") for source in group]
            if len(names) == 1:
                file, path = f'"{names[0]}"', f'"{group[0]}"'
                name = f'"{names[0].removesuffix(".py")}"'
            else:
                file, path, name = "file", f'"{folder}/" + file', "file[:-3]"
            arguments = {"name": Code(name), "srcs": Code(f"[{file}]")}
            if rule == "py_test":
                arguments["args"] = Code(f'["-pno:cacheprovider", {path}]')
            text = call(rule, **arguments, **common, deps=self.deps(group)) if group else ""
            if len(names) > 1:
                text = f"[{text.rstrip()} for file in {self._glob(folder, group)}]\n"
            if text:
                yield text

    def _glob(self, folder: str, sources: list[str]) -> str:
        """An expression for the names of some sources of a folder."""
        pattern = "test_*.py" if self.is_test(sources[0]) else "*.py"
        others = [x for x in self.within(folder) if x not in sources]
        names = {x.removeprefix(f"{folder}/") for x in others}
        if pattern == "*.py":
            names = {"test_*.py" if name.startswith("test_") else name for name in names}
        exclude = sorted(name for name in names if fnmatch.fnmatch(name, pattern))
        return f'glob(["{pattern}"]{f", exclude = {_list(exclude)}" if exclude else ""})'

    def _exists(self, label: str) -> bool:
        folder = label[2:].partition(":")[0]
        return not folder or not self.programs.isdisjoint(self.within(folder))


class Code(str):
    """An expression, which is written as it is."""


def call(function: str, *positional: str, on_one_line: bool = False, **named: Any) -> str:
    """A call as buildifier lays it out; arguments that are empty are left out."""
    values = [_value(x) for x in positional]
    values += [f"{key} = {_value(value)}" for key, value in named.items() if value]
    if on_one_line or len(values) == 1:
        return f"{function}({', '.join(values)})\n"
    return f"{function}(\n" + "".join(f"    {value},\n" for value in values) + ")\n"


def _value(value: Any) -> str:
    if isinstance(value, Code | bool):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"'
    if len(value) < 2:
        return _list(value)
    return "[\n" + "".join(f'        "{x}",\n' for x in value) + "    ]"


def _list(values: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{x}"' for x in values) + "]"


def imported_names(text: str, source: str) -> Iterator[str]:
    """The dotted names that a source imports anywhere, inside functions too."""
    parents = pathlib.PurePath(source).parts
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = (*parents[: -node.level], node.module) if node.level else (node.module,)
            yield from (".".join(filter(None, (*stem, alias.name))) for alias in node.names)


def folder_of(path: str) -> str:
    """The folder of a file, relative to the root; "" for the root itself."""
    return path.rpartition("/")[0]


def _python(path: pathlib.PurePath) -> pathlib.PurePath:
    return path.with_name(f"{path.name}.py")


def _short(label: str, folder: str) -> str:
    """`//a/b:b` as `//a/b`, and `//a/b:x` as `:x` within a/b."""
    place, _, name = label.partition(":")
    if place == f"//{folder}":
        return f":{name}"
    return place if place.rpartition("/")[2] == name else label


def _order(label: str) -> tuple[int, list[str]]:
    """As buildifier sorts: of this folder, of this project, others."""
    kind = "/@".find(label[0])  # -1: of this folder
    return (kind, label.removeprefix(":").split(":"))


def write(root: pathlib.Path) -> None:
    """Writes the BUILD files of a checkout, and removes those of folders without sources."""
    tree = Tree(root)
    texts = tree.build_files()
    for path in tree.files:
        if path.rpartition("/")[2] == "BUILD" and path not in texts:
            (root / path).unlink()
    for path, text in texts.items():
        (root / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        write(pathlib.Path(__file__).resolve().parents[1])
    except graphlib.CycleError as error:
        sys.exit(f"error: these need each other: {' <- '.join(error.args[1])}")
