"""The names that flags offer are those that mean something."""

from tfinvert import choices, features
from tfinvert.analysis.experiments import EXPERIMENTS
from tfinvert.networks import inversion
from tfinvert.serving import ENDPOINTS
from tfinvert.training.losses import LOSSES
from tfinvert.training.optimizers import OPTIMIZERS


def test_features():
    families = [f"{family}/LAYER" for family in choices.FAMILIES]
    assert [*choices.FEATURES, *families] == features.names()


def test_experiments_in_their_order():
    assert tuple(EXPERIMENTS) == choices.EXPERIMENTS


def test_settings():
    assert tuple(sorted(inversion.NETWORKS)) == choices.NETWORKS
    assert tuple(LOSSES) == choices.LOSSES
    assert tuple(OPTIMIZERS) == choices.OPTIMIZERS
    assert choices.DEFAULT_NETWORK in choices.NETWORKS


def test_endpoints():
    assert choices.ENDPOINTS == ENDPOINTS
