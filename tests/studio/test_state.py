"""States as query strings of links."""

import pytest

from tfinvert.errors import InputError
from tfinvert.studio.state import State, from_query
from tfinvert.studio.tabs import TABS, TABS_BY_NAME


@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.name)
def test_initial_state_round_trips(tab):
    state = State(tab.name, tab.defaults)
    assert from_query(state.query()) == state
    assert from_query(f"?tab={tab.name}") == state


def test_all_settings_round_trip():
    values = {"inverter": "alexnet-conv5-64", "mix": 30, "path": "norm"}
    state = State("mix", values, "rocket", "flower", "error")
    assert state.query() == (
        "tab=mix&photograph=rocket&second=flower&inverter=alexnet-conv5-64&mix=30&path=norm"
        "&map=error"
    )
    assert from_query(state.query()) == state


def test_layers_are_named_in_links():
    state = from_query("tab=layers&layer=fc7")
    assert TABS_BY_NAME["layers"].inverter_name(state.values) == "alexnet-fc7-64"
    state = from_query("tab=layers&layer=conv2&set=224")
    assert TABS_BY_NAME["layers"].inverter_name(state.values) == "alexnet-conv2"


def test_uploaded_photograph_is_not_in_the_link():
    assert "photograph" not in State(photograph="").query()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("tab=else", "tab must be one of rebuild, layers"),
        ("photograph=../../etc/passwd", "photograph must be one of chelsea"),
        ("tab=perturb&inverter=hog", "inverter must be one of alexnet-conv1"),
        ("tab=classes&inverter=alexnet-conv5-64", "inverter must be one of alexnet-fc8-64"),
        ("tab=units&inverter=sift-64", "inverter must be one of"),
        ("tab=perturb&amount=101", "amount must be an integer from 0 to 100. Received: '101'"),
        ("tab=perturb&amount=many", "amount must be an integer from 0 to 100. Received: 'many'"),
        ("tab=layers&layer=conv6", "layer must be one of conv1"),
        (
            "tab=card&mix=3",
            "the tab card has no parameter mix; use photograph, second, map",
        ),
        ("map=x", "map must be one of none"),
    ],
)
def test_invalid_links(query, message):
    with pytest.raises(InputError) as raised:
        from_query(query)
    assert message in str(raised.value) and "\n" not in str(raised.value)
