"""How the programs fail: one line on standard error, and the exit status."""

import pytest

import tfinvert
from tfinvert import cli


@pytest.fixture
def run(monkeypatch):
    def call(main, *argv, **options):
        def app_run(guarded):
            guarded(["program", *argv])

        monkeypatch.setattr(cli.app, "run", app_run)
        cli.run(main, **options)

    return call


def test_wrong_input_is_one_line_and_status_2(run, capsys):
    def main():
        raise tfinvert.InputError("first\n  second")

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: first second\n"


def test_defects_of_ours_keep_their_traceback(run):
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)


def test_an_interrupt_is_status_130(run):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 130


def test_arguments_after_the_flags(run):
    seen = []
    run(seen.append, "a.jpg", "b.jpg", arguments=True)
    assert seen == [["a.jpg", "b.jpg"]]
    with pytest.raises(SystemExit) as ended:
        run(lambda: None, "a.jpg")
    assert ended.value.code == 2
