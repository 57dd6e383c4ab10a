"""The demo: pretrained inverters, a short training and a served reconstruction, on one page."""

import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping

import keras
import numpy as np

from tfinvert import metrics
from tfinvert.analysis.result_cache import ResultCache
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.data.cropping import crop_and_resize
from tfinvert.data.open_source import open_source
from tfinvert.data.photos import SPLITS, load_photograph
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter, load
from tfinvert.inverter.inputs import read_images as read_files
from tfinvert.metrics.evaluation import read_images
from tfinvert.networks import inversion
from tfinvert.reporting.charts import loss_curve
from tfinvert.reporting.comparison import MAP_MAXIMUM, color_map
from tfinvert.reporting.grids import sample_rows, to_uint8, write_png
from tfinvert.reporting.report import Chapter, Figure, write_report
from tfinvert.reporting.run_report import METRICS_FILE, metrics_row
from tfinvert.runs.run_directory import open_run
from tfinvert.runs.training import INVERTER, TrainingRun, run_training
from tfinvert.serving import client
from tfinvert.serving.export import export_savedmodel
from tfinvert.training.history import History
from tfinvert.training.settings import Intervals, Settings
from tfinvert.training.summaries import NUM_IMAGES, read_pairs

PAGE, TRAINING, SAVEDMODEL = "demo.html", "training", "savedmodel"
PHOTOGRAPH, RECONSTRUCTION = "photograph.png", "reconstruction.png"
SERVED = SPLITS["validation"][0]
# The pretrained inverters were not trained on these photographs.
SHOWN, SIZE = ("chelsea", "astronaut", "coffee", "flower"), (224, 224)
PRETRAINED = {
    "HOG": "hog",
    "SIFT": "sift",
    **{f"AlexNet conv{i}": f"alexnet-conv{i}" for i in range(1, 6)},
}
SAMPLER, UNCERTAIN = "hog-samples-64", "hog-64"
_NUM_SAMPLES = 3
_NUM_SNAPSHOTS = 4  # pictures from training, the last one included


def run_demo(
    config: TrainingRun,
    settings: Settings,
    intervals: Intervals,
    workdir: str | pathlib.Path,
    pretrained: Mapping[str, str] = PRETRAINED,
) -> pathlib.Path:
    """Shows pretrained inverters, trains another one, exports and serves it, and prints progress.

    An interrupted demo is resumed; a complete one is left as it is.

    Args:
      config: feature and data of the training.
      settings: its network and optimisation.
      intervals: its logging, validation and checkpoint intervals; some validations are shown.
      workdir: the run directory.
      pretrained: names of the pretrained inverters to show, by label.

    Returns:
      The page, a self-contained HTML file in `workdir`.

    Raises:
      InputError: the directory cannot be used, or the client of the exported inverter failed.
      Interrupted: the process was interrupted; the last step of the training is saved.
    """
    workdir = pathlib.Path(workdir)
    page = workdir / PAGE
    flags = dataclasses.asdict(config) | dataclasses.asdict(settings)
    with open_run(workdir, flags | {"pretrained": [*pretrained.values()]}):
        if page.exists():
            print(f"{workdir} is already complete")
            return page
        cache = ResultCache(workdir / "results")
        chapters = [_pretrained_chapter(cache, pretrained)]
        print(f"training an inverter of {config.feature} from scratch", flush=True)
        run = run_training(config, settings, workdir / TRAINING, intervals=intervals)
        inverter = load(run / INVERTER)
        chapters.append(_training_chapter(cache, run, inverter, config, settings))
        print("exporting and serving it", flush=True)
        chapters.append(_serving_chapter(workdir, inverter))
        chapters.append(_commands_chapter(workdir))
        write_report(
            page,
            title="What image features preserve",
            lead="A feature describes a photograph by numbers for a computer to work with. Each "
            "reconstruction on this page was computed from such numbers alone, by a network that "
            "was trained to invert them: what is sharp in it is preserved by the feature, and what "
            "is blurred or has the wrong colour has been discarded.",
            chapters=chapters,
            details=inverter.card,
        )
        return page


def _pretrained_chapter(cache: ResultCache, pretrained: Mapping[str, str]) -> Chapter:
    photographs = np.stack([crop_and_resize(load_photograph(name), SIZE) for name in SHOWN])
    rows, table = {"photograph": photographs}, []
    for label, name in pretrained.items():
        result = cache(name, lambda name=name: _reconstruct(name, photographs))
        rows[label] = result["reconstructions"]
        table.append(
            {
                "feature": label,
                "inverter": name,
                "shape": "\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}".join(map(str, result["shape"])),
                "numbers": int(np.prod(result["shape"])),
                "PSNR (dB)": float(result["psnr"]),
            }
        )
    photographs = np.stack([crop_and_resize(load_photograph(name), (64, 64)) for name in SHOWN])
    samples = cache(SAMPLER, lambda: _sample(photographs))
    uncertain = cache(UNCERTAIN, lambda: _predict_uncertainty(photographs))
    return Chapter(
        "Pretrained inverters",
        f"These inverters come with the package and were trained on other photographs. Of the "
        f"{np.prod(rows['photograph'].shape[1:]):,} numbers in each photograph below, an inverter "
        f"only receives the feature.",
        figures=[
            Figure(
                "Photographs, and their reconstructions from features",
                "HOG and SIFT describe gradients of the greyscale image, so the colours are "
                "inferred. AlexNet's first layer preserves nearly everything; each further one "
                "discards more of what does not help to recognise objects.",
                rows=rows,
            ),
            Figure(
                "One feature, many images",
                f"Many images have the same HOG. The reconstruction approximates their mean; "
                f"{SAMPLER} draws some of them at random.",
                rows={
                    "photograph": photographs,
                    "reconstruction": uncertain["reconstructions"],
                    **sample_rows(samples["samples"]),
                },
            ),
            Figure(
                "Predicted uncertainty",
                f"{UNCERTAIN} also predicts, from HOG alone, how far its reconstruction is from "
                f"the photograph at each pixel: the standard deviation. Black is zero, the "
                f"brightest yellow {MAP_MAXIMUM:g} of the range or more.",
                rows={
                    "photograph": photographs,
                    "difference": uncertain["differences"],
                    "predicted deviation": uncertain["deviations"],
                },
            ),
        ],
        rows=table,
    )


def _reconstruct(name: str, photographs: np.ndarray) -> dict[str, np.ndarray]:
    print(f"reconstructing photographs with {name}", flush=True)
    inverter = load(name)
    features = inverter.encode(photographs)
    reconstructions = inverter.invert(features)
    targets = resize_images(photographs, reconstructions.shape[1:3])
    return {
        "reconstructions": to_uint8(resize_images(reconstructions, photographs.shape[1:3])),
        "shape": np.array(features.shape[1:]),
        "psnr": np.array(metrics.psnr(targets, reconstructions)),
    }


def _sample(photographs: np.ndarray) -> dict[str, np.ndarray]:
    print(f"sampling with {SAMPLER}", flush=True)
    inverter = load(SAMPLER)
    samples = inverter.sample(inverter.encode(photographs), _NUM_SAMPLES)
    return {"samples": to_uint8(samples)}


def _predict_uncertainty(photographs: np.ndarray) -> dict[str, np.ndarray]:
    print(f"predicting uncertainty with {UNCERTAIN}", flush=True)
    inverter = load(UNCERTAIN)
    features = inverter.encode(photographs)
    reconstructions = inverter.invert(features)
    maps = {
        "differences": np.abs(reconstructions - photographs),
        "deviations": inverter.uncertainty(features),
    }
    return {
        "reconstructions": to_uint8(reconstructions),
        **{name: to_uint8(color_map(values)) for name, values in maps.items()},
    }


def _training_chapter(
    cache: ResultCache,
    run: pathlib.Path,
    inverter: Inverter,
    config: TrainingRun,
    settings: Settings,
) -> Chapter:
    before = cache("before", lambda: _reconstruct_untrained(inverter, config, settings))
    pairs = read_pairs(run / "summaries")
    steps = [*pairs]
    # Most is learned in the first steps.
    chosen = np.unique(np.geomspace(1, len(steps), _NUM_SNAPSHOTS).round().astype(int)) - 1
    originals, _ = pairs[steps[-1]]
    rows = {"photograph": originals, "before training": before["reconstructions"]}
    rows |= {f"after step {step:,}": pairs[step][1] for step in np.array(steps)[chosen]}
    rows = {label: images[1::2] for label, images in rows.items()}  # neighbours look alike
    history = History(run / "history.jsonl", settings.steps).entries
    start = {"step": 0, "loss": np.nan, "validation_error": float(before["error"])}
    scores = json.loads((run / METRICS_FILE).read_text(encoding="utf-8"))
    card = inverter.card
    seconds = 60 * card["training_minutes"]
    images = settings.steps * settings.batch_size
    photographs = len(SPLITS["training"])
    return Chapter(
        f"An inverter of {inverter.feature.name}, trained from scratch",
        f"{settings.steps:,} steps of {settings.batch_size} crops of {photographs} photographs, "
        f"with random colours, in about {seconds:.0f} seconds of training. None of the pictures "
        f"below is of these photographs.",
        [
            f"The normalised error of held-out images fell from {before['error']:.2f} to "
            f"{scores['inverter']['normalized_error']:.2f}. The mean training image, which ignores "
            f"the feature, scores {scores['mean_image']['normalized_error']:.2f}; lower is better.",
            f"The network has {card['parameters']:,} parameters, and has seen {images:,} crops.",
        ],
        [
            Figure(
                "Held-out photographs during training",
                "Each column is a photograph, its reconstruction by the untrained network, and "
                "reconstructions during training.",
                rows=rows,
            ),
            Figure(
                "Learning curve",
                "The loss on the training crops, and the normalised error on the held-out images.",
                svg=loss_curve([start, *history]),
            ),
        ],
        [
            metrics_row("trained here", scores["inverter"]),
            metrics_row("mean training image", scores["mean_image"]),
        ],
    )


def _reconstruct_untrained(
    inverter: Inverter, config: TrainingRun, settings: Settings
) -> dict[str, np.ndarray]:
    """Reconstructs the validation images with the initial weights of the training."""
    keras.utils.set_random_seed(settings.seed)
    network = inversion.build(
        inverter.feature, None, settings.width, settings.hidden_units, settings.network
    )
    size = inverter.feature.image_shape[:2]
    images = read_images(open_source(config.data, "validation"), size)
    untrained = Inverter(inverter.feature, inverter.standardization, network)
    reconstructions = untrained.reconstruct(images)
    shown = reconstructions[evenly_spaced_indices(len(images), NUM_IMAGES)]
    targets = resize_images(images, untrained.output_size)
    error = metrics.normalized_error(targets, reconstructions)
    return {"reconstructions": to_uint8(shown), "error": np.array(error)}


def _serving_chapter(workdir: pathlib.Path, inverter: Inverter) -> Chapter:
    model = workdir / SAVEDMODEL / inverter.feature.name.replace("/", "-")
    if not (model / "1").exists():
        export_savedmodel(inverter, model)
    photograph, reconstruction = workdir / PHOTOGRAPH, workdir / RECONSTRUCTION
    write_png(photograph, load_photograph(SERVED))
    # A new process without the package, like a model server's.
    command = [sys.executable, client.__file__, model / "1", photograph, reconstruction]
    served = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if served.returncode:
        raise InputError(f"the client failed: {served.stderr}")
    images = [read_files(inverter.decoder, path).values for path in (photograph, reconstruction)]
    return Chapter(
        "Export and serving",
        "The trained inverter was exported as a SavedModel, as TensorFlow Serving loads it. A new "
        "process, without Keras and without this package, sent it a photograph as a file, and "
        "received a PNG file.",
        figures=[
            Figure(
                "Request and response",
                f"{PHOTOGRAPH} and {RECONSTRUCTION}.",
                rows={"photograph": images[0], "reconstruction": images[1]},
            )
        ],
    )


def _commands_chapter(workdir: pathlib.Path) -> Chapter:
    return Chapter(
        "Next steps",
        findings=[
            "Your own photographs: tfinvert reconstruct --inverter=hog --output=grid.png PHOTO.jpg",
            "Interactively in a browser: pip install 'tfinvert[studio]', then tfinvert studio",
            "An inverter of another feature: tfinvert train --feature=hog --data=folder:PHOTOS "
            "--workdir=runs/hog",
            f"Curves and images of the training: tensorboard --logdir={workdir / TRAINING}",
        ],
    )
