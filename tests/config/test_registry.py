"""The registry: every name resolves, and names need no TensorFlow."""

import subprocess
import sys

import pytest

from tfinvert import features
from tfinvert.config import registry
from tfinvert.config.registry import Entry, ModuleRegistry, Registry

REGISTRIES = {
    name: value
    for name, value in vars(registry).items()
    if isinstance(value, Registry | ModuleRegistry)
}


@pytest.mark.parametrize("table", REGISTRIES)
def test_every_name_resolves_and_has_a_description(table):
    names = REGISTRIES[table]
    assert len(names) == len([*names]) > 0
    for name in names:
        assert names[name] is names[name]
        description = names.describe(name)
        assert description and "\n" not in description


def test_the_tables_have_the_names_of_their_subjects():
    assert {"hog", "lbp", "sift"} <= {*registry.FEATURES}
    assert "alexnet" in registry.FEATURE_FAMILIES
    assert registry.DEFAULT_NETWORK in registry.NETWORKS
    assert [*registry.LOSSES] == ["mse", "mae", "ssim", "perceptual", "adversarial"]
    assert [*registry.EXPERIMENTS][0] == "baselines"
    assert [*registry.COMMANDS][0] == "reconstruct"


def test_names_and_descriptions_need_no_tensorflow():
    program = """
import sys
from tfinvert.config import registry
for table in vars(registry).values():
    if isinstance(table, registry.Registry | registry.ModuleRegistry):
        assert len(table) and all(table.describe(name) and name in table for name in table)
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_object_is_imported_when_it_is_looked_up():
    lazy = Registry({"missing": Entry("tfinvert.no_such_module:name", "nothing")})
    assert "missing" in lazy and [*lazy] == ["missing"]
    with pytest.raises(ModuleNotFoundError):
        lazy["missing"]
    assert lazy.get("other") is None


def test_registrations_of_a_block_end_with_it():
    with registry.FEATURES.scoped():
        features.register("mine", len)
        assert registry.FEATURES["mine"] is len
        assert "mine" in features.names()
    assert "mine" not in registry.FEATURES
    features.register("hog", registry.FEATURES["hog"])  # the same object again


MODULE = '''"""{description}."""

from builtins import dict as Thing

THING = Thing(order={order})
'''


def test_a_module_registers_itself_by_its_declaration(tmp_path, monkeypatch):
    (tmp_path / "things").mkdir()
    files = {"__init__": "", "helper": "X = 1\n"}
    files |= {f"{x}_thing": MODULE.format(description=x, order=i) for i, x in enumerate("ba")}
    for name, text in files.items():
        (tmp_path / "things" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    things = ModuleRegistry("things", "THING")
    assert [*things] == ["b-thing", "a-thing"]
    assert things.describe("a-thing") == "a."
    assert "things.a_thing" not in sys.modules
    assert things["a-thing"] == {"order": 1}
    with pytest.raises(KeyError):
        things["helper"]
