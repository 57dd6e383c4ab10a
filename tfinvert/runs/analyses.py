"""Runs experiments one after the other into one directory with one report."""

import hashlib
import json
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfinvert.analysis.experiment import Experiment, Result
from tfinvert.analysis.result_cache import ResultCache
from tfinvert.common.provenance import make_card
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.columns import label_columns
from tfinvert.reporting.report import Chapter, write_report
from tfinvert.reporting.run_report import REPORT_FILE
from tfinvert.runs.results import load_result, save_result
from tfinvert.runs.run_directory import open_run

_CACHE, _SUMMARIES = "parts", "summaries"


def card_digest(inverter: Inverter) -> str:
    """Digest of an inverter's card, which differs after another training.

    How a shipped inverter is trained again is no part of it.
    """
    card = {k: v for k, v in inverter.card.items() if k not in ("commands", "differences")}
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()[:12]


def run_experiments(
    workdir: str | pathlib.Path,
    experiments: Mapping[str, tuple[Experiment, dict[str, Inverter]]],
    images: np.ndarray,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> dict[str, Result]:
    """Runs experiments, or reads the results of finished ones, and writes the report.

    Each has a directory with its name, with `results.json` and figures. The same call resumes an
    interrupted run. TensorBoard's `summaries/` have the figures too.

    Args:
      workdir: a run directory; experiments may be added to it with the same facts.
      experiments: by name, with their inverters.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take.
      settings: settings of the experiments; each ignores those that it does not have.
      facts: what the results depend on (data, images, seed, …), as JSON values.

    Raises:
      InputError: the directory belongs to another run, or an experiment cannot take its inverters,
        the images or the settings.
    """
    for experiment, inverters in experiments.values():
        for label, inverter in inverters.items():
            experiment.check_inverter(label, inverter)
    with open_run(workdir, facts) as directory:
        return _run(directory, experiments, images, settings, facts)


def _run(
    directory: pathlib.Path,
    experiments: Mapping[str, tuple[Experiment, dict[str, Inverter]]],
    images: np.ndarray,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> dict[str, Result]:
    settings = {**settings, "cache": ResultCache(directory / _CACHE)}
    results = {}
    for name, (experiment, inverters) in experiments.items():
        path = directory / name
        digests = {label: card_digest(inverter) for label, inverter in inverters.items()}
        if path.exists():
            results[name], before = load_result(path)
            if before.get("inverters") != digests:
                raise InputError(
                    f"{path} was made with other inverters, or with these before they were trained "
                    f"again; give another --workdir. Received: {', '.join(digests)}, "
                    f"was: {', '.join(before['inverters'])}"
                )
            print(f"{name}: already complete")
            continue
        begin = time.perf_counter()
        try:
            result = experiment.run(inverters, images, settings)
        except InputError:
            if results:  # so that earlier results can be read in the report
                _write_report(directory / REPORT_FILE, results, make_card(**facts))
            raise
        seconds = round(time.perf_counter() - begin, 1)
        save_result(path, result, inverters=digests, seconds=seconds)
        _write_summaries(directory / _SUMMARIES, name, result)
        results[name] = result
        print(f"{name}: {seconds:.0f} s", *result.findings, sep="\n  ")
    _write_report(directory / REPORT_FILE, results, make_card(**facts))
    return results


def _write_summaries(folder: pathlib.Path, name: str, result: Result) -> None:
    """Writes an experiment's figures for TensorBoard."""
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
    table = [Chapter("The paper's findings, tested", rows=claims)] if claims else []
    if len(results) == 1:
        (result,) = results.values()
        chapters = [Chapter("Figures", figures=result.figures), *table]
        chapters.append(Chapter("Results", rows=label_columns(result.rows)))
        title, lead, findings = result.title, result.lead, result.findings
    else:
        title = "Information in the representations"
        lead = f"{len(results)} experiments: {', '.join(results)}."
        findings = [
            f"{name}: {result.findings[0]}" for name, result in results.items() if result.findings
        ]
        chapters = table + [
            Chapter(
                result.title,
                result.lead,
                result.findings,
                result.figures,
                label_columns(result.rows),
            )
            for result in results.values()
        ]
    write_report(
        path, title=title, lead=lead, findings=findings, chapters=chapters, details=details
    )
