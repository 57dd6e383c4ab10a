"""Values and defaults of flags whose names are in no registry."""

SOURCE_FORMATS = "photos, folder:PATH or tfds:NAME[/CONFIG]"
UNCERTAINTY_MODES = ("none", "joint", "frozen")
PRECISIONS = ("float32", "bfloat16", "float16")
JIT = ("auto", "on", "off")
STRATEGIES = ("auto", "one", "mirrored", "multi_worker")

MEMORY_GB = 4.0  # for decoded photographs
MAX_IMAGES = 5000  # of a measurement, whose error is relative to all pairs of images
