"""What a link says, without a page."""

import pytest

from tfinvert.errors import InputError
from tfinvert.studio.state import State, from_query
from tfinvert.studio.tabs import TABS, TABS_BY_NAME


@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.name)
def test_what_a_tab_begins_with_is_in_its_link(tab):
    state = State(tab.name, tab.defaults)
    assert from_query(state.query()) == state
    assert from_query(f"?tab={tab.name}") == state


def test_every_setting_is_in_the_link():
    values = {"inverter": "alexnet-conv5-64", "mix": 30, "path": "norm"}
    state = State("mix", values, "rocket", "flower", "error")
    assert state.query() == (
        "tab=mix&photograph=rocket&second=flower&inverter=alexnet-conv5-64&mix=30&path=norm"
        "&map=error"
    )
    assert from_query(state.query()) == state


def test_layers_have_their_names_in_a_link():
    state = from_query("tab=layers&layer=fc7")
    assert TABS_BY_NAME["layers"].inverter_of(state.values) == "alexnet-fc7-64"
    state = from_query("tab=layers&layer=conv2&set=224")
    assert TABS_BY_NAME["layers"].inverter_of(state.values) == "alexnet-conv2"


def test_an_uploaded_photograph_is_in_no_link():
    assert "photograph" not in State(photograph="").query()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("tab=else", "tab is one of rebuild, layers"),
        ("photograph=../../etc/passwd", "photograph is one of chelsea"),
        ("tab=perturb&inverter=hog", "inverter is one of alexnet-conv1"),
        ("tab=classes&inverter=alexnet-conv5-64", "inverter is one of alexnet-fc8-64"),
        ("tab=units&inverter=sift-64", "inverter is one of"),
        ("tab=perturb&amount=101", "amount is a whole number from 0 to 100. Received: '101'"),
        ("tab=perturb&amount=many", "amount is a whole number from 0 to 100. Received: 'many'"),
        ("tab=layers&layer=conv6", "layer is one of conv1"),
        ("tab=card&mix=3", "the tab card has no mix"),
        ("map=x", "map is one of none"),
    ],
)
def test_a_link_to_what_there_is_not_says_what_there_is(query, said):
    with pytest.raises(InputError) as raised:
        from_query(query)
    assert said in str(raised.value) and "\n" not in str(raised.value)
