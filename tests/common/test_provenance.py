"""Provenance metadata of a model card."""

import json

import keras

from tfinvert.common.memory import peak_memory
from tfinvert.common.provenance import library_versions, make_card
from tfinvert.version import __version__


def test_a_card_has_the_facts_and_their_provenance():
    card = make_card(steps=3)
    assert card["steps"] == 3
    assert card["versions"] == library_versions()
    assert (card["versions"]["tfinvert"], card["versions"]["keras"]) == (
        __version__,
        keras.__version__,
    )
    assert "CPU cores" in card["machine"]
    assert 0 < card["peak_memory_gb"] <= peak_memory() + 0.01
    assert json.loads(json.dumps(card)) == card
