"""Runs Beam pipelines: parses Beam's flags and reports a failure in one line."""

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

DEFAULT_RUNNER = "FnApiRunner"  # the embedded one; "DirectRunner" may download others


def parse_beam_options(flags: Sequence[str]) -> PipelineOptions:
    """Parses Beam's command-line flags; the runner is `DEFAULT_RUNNER` unless they name another.

    Raises:
      InputError: Beam has no such flag (runners other than the embedded one may have more), or its
        value is wrong.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(parser)
    known, unknown = parser.parse_known_args(list(flags))
    has_own_flags = known.runner not in (None, DEFAULT_RUNNER)
    if unknown and not (has_own_flags and unknown[0].startswith("--")):
        raise InputError(
            f"arguments after -- must be flags of Beam. Received: {unknown[0]!r}, which is none"
        )
    options = PipelineOptions(list(flags))
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or DEFAULT_RUNNER
    workers = options.view_as(WorkerOptions)
    workers.default_sdk_harness_log_level = workers.default_sdk_harness_log_level or "ERROR"
    return options


def run_pipeline(build: Callable[[beam.Pipeline], None], flags: Sequence[str]) -> None:
    """Builds a pipeline, runs it and waits for its end.

    Raises:
      InputError: the flags are wrong, or the pipeline failed; one line with the cause.
    """
    options = parse_beam_options(flags)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)  # failures are reported below
    try:
        pipeline = beam.Pipeline(options=options)
        build(pipeline)
        pipeline.run().wait_until_finish()
    except Exception as error:  # runners wrap the exceptions of workers in their own types
        raise InputError(f"the pipeline failed: {root_cause(str(error) or repr(error))}") from error


def root_cause(report: str) -> str:
    """Extracts the line with the cause from a worker's error report."""
    causes = re.findall(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception)): (.+)$", report, re.MULTILINE)
    if not causes:
        return first_line(RuntimeError(report))
    kind, message = causes[-1]
    message = re.sub(r" \[while running .*", "", message)
    return message if kind == "InputError" else f"{kind}: {message}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"a flag of Beam is wrong: {message}")
