"""Setup of every pytest process: temporary folder, shared fixtures, the list of slow tests."""

import itertools
import os
import tempfile

import pytest

# TFDS leaves folders behind, and so does AutoGraph in killed processes. All temporary files,
# including those of pytest and of programs that tests start, go into one folder that this process
# removes; an xdist worker's folder lies inside its controller's.
_TEMPORARY = tempfile.TemporaryDirectory(prefix="tfinvert-tests-", ignore_cleanup_errors=True)
os.environ["TMPDIR"] = tempfile.tempdir = _TEMPORARY.name

_SLOW_TESTS_NOT_RUN = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Loads the shared fixtures, and prepares the set of slow tests that this run deselects."""
    config.stash[_SLOW_TESTS_NOT_RUN] = set()
    if not config.getoption("numprocesses", None):  # xdist's controller runs no test
        config.pluginmanager.import_plugin("tests.fixtures")


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Notes which tests of the tier `slow` were deselected."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.config.stash[_SLOW_TESTS_NOT_RUN].add(item.nodeid.partition("[")[0])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hands the notes of an xdist worker to its controller."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["slow"] = sorted(session.config.stash[_SLOW_TESTS_NOT_RUN])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
    """Takes an xdist worker's notes."""
    node.config.stash[_SLOW_TESTS_NOT_RUN].update(getattr(node, "workeroutput", {}).get("slow", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the slow tests that were not run, and the command that runs them."""
    not_run = terminalreporter.config.stash[_SLOW_TESTS_NOT_RUN]
    if not not_run:
        return
    terminalreporter.section(f"{len(not_run)} slow tests were not run; `make test-all` runs them")
    by_file = itertools.groupby(sorted(not_run), lambda nodeid: nodeid.partition("::")[0])
    for file, tests in by_file:
        names = ", ".join(test.partition("::")[2].removeprefix("test_") for test in tests)
        terminalreporter.write_line(f"{file}: {names}")
