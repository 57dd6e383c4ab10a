"""What flags offer: the names they take, and their defaults, without what stands behind them.

So that `--help` and the completion of a shell need no TensorFlow. What a name means is said where
it is done: in `features/`, `inversion.NETWORKS`, `losses.LOSSES`, `optimizers.OPTIMIZERS`,
`experiment.EXPERIMENTS` and `serving.ENDPOINTS`, which tests compare with these.
"""

SOURCE_FORMATS = "photos, folder:PATH or tfds:NAME[/CONFIG]"
FEATURES = ("hog", "lbp", "sift", "skimage_hog", "skimage_lbp")
# Features are FAMILY/LAYER.
FAMILIES = ("alexnet", "efficientnet_lite0", "hub", "keras", "mobilenet_v2", "squeezenet")

UNCERTAINTY_MODES = ("none", "joint", "frozen")
NETWORKS = ("paper", "residual")
DEFAULT_NETWORK = "residual"
LOSSES = ("mse", "mae", "ssim", "perceptual", "adversarial")
OPTIMIZERS = ("adam", "adamw", "muon")
PRECISIONS = ("float32", "bfloat16", "float16")
JIT = ("auto", "on", "off")
STRATEGIES = ("auto", "one", "mirrored", "multi_worker")

EXPERIMENTS = (
    "baselines",
    "layers",
    "perturb",
    "probabilities",
    "color",
    "position",
    "interpolate",
    "sample",
    "units",
    "invariance",
    "iterate",
    "compare",
    "uncertainty",
    "contrast",
    "keypoints",
    "depth",
    "privacy",
)

ENDPOINTS = ("serving_default", "reconstruct_bytes", "invert")

MEMORY_GB = 4.0  # for decoded photographs
MAX_IMAGES = 5000  # of a measurement, whose error is relative to all pairs of them
