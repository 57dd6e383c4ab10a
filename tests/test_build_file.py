"""The BUILD file, evaluated without Bazel: every source is in a library with its imports."""

import ast
import fnmatch
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def files():
    """Files that git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("the list of files comes from a git checkout, which this is not")
    return [path for path in found.stdout.splitlines() if (ROOT / path).exists()]


@pytest.fixture(scope="module")
def targets(files):
    """Arguments of each rule by target name."""
    rules = {}

    def glob(patterns, exclude=()):
        def matches(path, pattern):
            same_depth = path.count("/") == pattern.count("/")
            pattern, nested = pattern.replace("**/", "*"), "**" in pattern
            return fnmatch.fnmatchcase(path, pattern) and (same_depth or nested)

        found = [x for x in files if any(matches(x, pattern) for pattern in patterns)]
        assert found, f"{patterns} match no file"
        return [x for x in found if not any(matches(x, pattern) for pattern in exclude)]

    def rule(name, **arguments):
        assert name not in rules, f"{name} is declared twice"
        rules[name] = arguments

    names = dict.fromkeys(("py_binary", "py_library", "py_test"), rule) | {"glob": glob}
    names |= dict.fromkeys(("load", "package", "licenses"), lambda *_, **__: None)
    exec((ROOT / "BUILD").read_text(encoding="utf-8"), names)
    return rules


def test_every_source_is_in_one_library_binary_or_test(files, targets):
    sources = [x for x in files if x.endswith(".py") and x.count("/") and not x.startswith(".")]
    libraries = {x: y["srcs"] for x, y in targets.items() if x.startswith("tfinvert")}
    libraries["programs"] = targets["programs"]["srcs"]
    libraries["test_support"] = targets["test_support"]["srcs"]
    tests = [y["args"][-1] for y in targets.values() if y.get("main_module") == "pytest"]
    held = sorted([*sum(libraries.values(), []), *tests])
    assert held == sorted(sources)


def test_each_library_depends_on_what_it_imports(targets):
    library_of = {
        source: name
        for name, rule in targets.items()
        for source in rule["srcs"]
        if name.startswith("tfinvert")
    }
    for source, library in library_of.items():
        for node in ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tfinvert."):
                path = node.module.replace(".", "/")
                modules = [f"{path}.py", f"{path}/__init__.py"]
                needed = next((library_of[x] for x in modules if x in library_of), None)
                assert needed, f"{source}: no library holds {node.module}"
                assert needed == library or f":{needed}" in targets[library].get("deps", ()), (
                    f"{source} imports {node.module}, but {library} does not depend on {needed}"
                )


def test_dependencies_refer_to_earlier_targets_or_locked_distributions(targets):
    locked = {
        line.partition("==")[0].partition("[")[0].lower().replace("-", "_")
        for line in (ROOT / "requirements_lock.txt").read_text(encoding="utf-8").splitlines()
    }
    declared = set()
    for name, rule in targets.items():
        for needed in rule.get("deps", ()):
            if needed.startswith("@pypi//"):
                assert needed.removeprefix("@pypi//") in locked, f"{name} needs {needed}"
            else:
                assert needed.removeprefix(":") in declared, f"{name} needs {needed}"
        declared.add(name)
