"""Running a Beam pipeline: Beam's own flags, and one line where it fails."""

import argparse
import logging
import re
from collections.abc import Callable, Sequence
from typing import NoReturn

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    StandardOptions,
    WorkerOptions,
)

from tfinvert.errors import InputError, first_line

RUNNER = "FnApiRunner"  # the embedded one; "DirectRunner" may ask for a download


def parse_beam_options(flags: Sequence[str]) -> PipelineOptions:
    """Beam's options from its command-line flags; `RUNNER` unless they name another.

    Raises:
      InputError: Beam has no such flag (others than the embedded runner may have more), or its
        value is wrong.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(parser)
    known, unknown = parser.parse_known_args(list(flags))
    if unknown and (known.runner in (None, RUNNER) or not unknown[0].startswith("--")):
        raise InputError(f"Beam has no flag {unknown[0]!r}; what follows -- are flags of Beam")
    options = PipelineOptions(list(flags))
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or RUNNER
    workers = options.view_as(WorkerOptions)
    workers.default_sdk_harness_log_level = workers.default_sdk_harness_log_level or "ERROR"
    return options


def run_pipeline(build: Callable[[beam.Pipeline], None], flags: Sequence[str]) -> None:
    """Builds a pipeline and waits until it has run.

    Raises:
      InputError: the flags are wrong, or it failed: one line that says how.
    """
    options = parse_beam_options(flags)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)  # what fails is told below
    try:
        pipeline = beam.Pipeline(options=options)
        build(pipeline)
        pipeline.run().wait_until_finish()
    except Exception as error:  # what a worker raised arrives as runners like to wrap it
        raise InputError(f"the pipeline failed: {root_cause(str(error) or repr(error))}") from error


def root_cause(text: str) -> str:
    """The line of a worker's report that says what was wrong."""
    said = re.findall(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception)): (.+)$", text, re.MULTILINE)
    if not said:
        return first_line(RuntimeError(text))
    kind, words = said[-1]
    words = re.sub(r" \[while running .*", "", words)
    return words if kind == "InputError" else f"{kind}: {words}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"a flag of Beam is wrong: {message}")
