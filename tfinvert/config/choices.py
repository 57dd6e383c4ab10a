"""Values and defaults of flags whose names are in no registry."""

MIXTURE_FORMAT = "mix:SHARE:SOURCE+SHARE:SOURCE"
SOURCE_FORMATS = f"photos, folder:PATH, tfds:NAME[/CONFIG] or {MIXTURE_FORMAT}"
UNCERTAINTY_MODES = ("none", "joint", "frozen")
PRECISIONS = ("float32", "bfloat16", "float16")
JIT = ("auto", "on", "off")
STRATEGIES = ("auto", "one", "mirrored", "multi_worker")

MEMORY_GB = 4.0  # for decoded photographs
MAX_IMAGES = 5000  # of a measurement, whose error is relative to all pairs of images
