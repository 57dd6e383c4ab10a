"""Experiments one after the other, into one directory with one report."""

import hashlib
import json
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfinvert.analysis.experiment import Experiment
from tfinvert.analysis.result import Result
from tfinvert.analysis.result_cache import ResultCache
from tfinvert.common.provenance import make_card
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.report import Chapter, write_report
from tfinvert.reporting.run_report import REPORT_FILE
from tfinvert.runs.results import load_result, save_result
from tfinvert.runs.run_directory import open_run

_PARTS, _SUMMARIES = "parts", "summaries"


def card_digest(inverter: Inverter) -> str:
    """Tells an inverter from the same trained anew: a digest of its card."""
    return hashlib.sha256(json.dumps(inverter.card, sort_keys=True).encode()).hexdigest()[:12]


def run_experiments(
    workdir: str | pathlib.Path,
    experiments: Mapping[str, tuple[Experiment, dict[str, Inverter]]],
    images: np.ndarray,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> dict[str, Result]:
    """Runs experiments, or reads those that an earlier call finished, and writes the report.

    Each gets a directory of its own name with `results.json` and figures. A stopped run goes on
    with the same call. TensorBoard's `summaries/` have the figures too.

    Args:
      workdir: a run directory; experiments may be added to it with the same facts.
      experiments: by name, with their inverters.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take.
      settings: handed to those experiments that have them.
      facts: what determines the results (data, images, seed, …), as JSON values.

    Raises:
      InputError: the directory is of another run, or an experiment cannot be done.
    """
    for experiment, inverters in experiments.values():
        for label, inverter in inverters.items():
            experiment.check(label, inverter)
    with open_run(workdir, facts) as directory:
        return _run(directory, experiments, images, settings, facts)


def _run(
    directory: pathlib.Path,
    experiments: Mapping[str, tuple[Experiment, dict[str, Inverter]]],
    images: np.ndarray,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> dict[str, Result]:
    settings = {**settings, "parts": ResultCache(directory / _PARTS)}
    results = {}
    for name, (experiment, inverters) in experiments.items():
        path = directory / name
        made_of = {label: card_digest(inverter) for label, inverter in inverters.items()}
        if path.exists():
            results[name], before = load_result(path)
            if before.get("inverters") != made_of:
                raise InputError(
                    f"{path} was made with other inverters: {', '.join(before['inverters'])}, or "
                    "the same before they were trained anew; give another --workdir"
                )
            print(f"{name}: done before")
            continue
        begin = time.perf_counter()
        try:
            result = experiment.ask(inverters, images, settings)
        except InputError:
            if results:  # what was found before is not to be looked for in files
                _write_report(directory / REPORT_FILE, results, make_card(**facts))
            raise
        seconds = round(time.perf_counter() - begin, 1)
        save_result(path, result, inverters=made_of, seconds=seconds)
        _summarize(directory / _SUMMARIES, name, result)
        results[name] = result
        print(f"{name}: {seconds:.0f} s", *result.findings, sep="\n  ")
    _write_report(directory / REPORT_FILE, results, make_card(**facts))
    return results


def _summarize(folder: pathlib.Path, name: str, result: Result) -> None:
    """Shows TensorBoard an experiment's figures."""
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=0):
        for figure in result.figures:
            if figure.image is not None:
                tf.summary.image(f"{name}/{figure.title}", figure.image[np.newaxis])
    writer.close()


def _write_report(
    path: pathlib.Path, results: Mapping[str, Result], details: Mapping[str, Any]
) -> None:
    claims = [
        {
            "the paper found": claim.finding,
            "decided by": claim.measure,
            "here": claim.value,
            "confirmed": claim.holds,
        }
        for result in results.values()
        for claim in result.claims
    ]
    table = [Chapter("What the paper found, and what is seen here", rows=claims)] if claims else []
    if len(results) == 1:
        (result,) = results.values()
        chapters = [Chapter("Figures", figures=result.figures), *table]
        chapters.append(Chapter("Results", rows=result.rows))
        title, lead, findings = result.title, result.lead, result.findings
    else:
        title = "What the representations keep"
        lead = f"{len(results)} experiments: {', '.join(results)}."
        findings = [
            f"{name}: {result.findings[0]}" for name, result in results.items() if result.findings
        ]
        chapters = table + [
            Chapter(result.title, result.lead, result.findings, result.figures, result.rows)
            for result in results.values()
        ]
    write_report(
        path, title=title, lead=lead, findings=findings, chapters=chapters, details=details
    )
