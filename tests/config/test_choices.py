"""The names that flags offer are those that mean something."""

import subprocess
import sys

from tfinvert.analysis.experiment import EXPERIMENTS
from tfinvert.config import choices
from tfinvert.networks import inversion
from tfinvert.serving import ENDPOINTS
from tfinvert.training.losses import LOSSES
from tfinvert.training.optimizers import OPTIMIZERS


def test_features():
    # Apart, since other tests register features of their own.
    say = "from tfinvert import features; print(*features.names())"
    said = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True)
    families = [f"{family}/LAYER" for family in choices.FAMILIES]
    assert [*choices.FEATURES, *families] == said.stdout.split()


def test_experiments_in_their_order():
    assert tuple(EXPERIMENTS) == choices.EXPERIMENTS


def test_settings():
    assert tuple(sorted(inversion.NETWORKS)) == choices.NETWORKS
    assert tuple(LOSSES) == choices.LOSSES
    assert tuple(OPTIMIZERS) == choices.OPTIMIZERS
    assert choices.DEFAULT_NETWORK in choices.NETWORKS


def test_endpoints():
    assert choices.ENDPOINTS == ENDPOINTS
