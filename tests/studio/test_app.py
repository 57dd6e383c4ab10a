"""Starting the server: addresses that are not available, and a missing Gradio."""

import builtins
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from tfinvert.errors import InputError
from tfinvert.studio import app

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = """
import os, urllib.request
from tfinvert.studio.app import serve
before = {**os.environ}
with serve("0.0.0.0") as url:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url) as page:
        print(page.read().decode())
assert os.environ.get("no_proxy") == before.get("no_proxy")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "proxies",
    [
        {"http_proxy": "http://127.0.0.1:9", "no_proxy": "example.org,[::1]"},  # no server there
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
    ],
)
def test_proxies_of_the_environment(proxies):
    pytest.importorskip("gradio", reason="the extra studio is not installed")
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | proxies
    command = [sys.executable, "-c", PROGRAM]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "gradio" in finished.stdout


def test_port_in_use():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"listen at 127.0.0.1:{port}: .*in use.* --port"):
            app.launch(port=port, open_browser=False)


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 7860), ("127.0.0.1", 99999)])
def test_unavailable_address(host, port):
    with pytest.raises(InputError, match=f"cannot listen at {host}:{port}: "):
        app.launch(host, port, open_browser=False)


def test_missing_gradio(monkeypatch):
    import_module = builtins.__import__

    def import_without_gradio(name, *args, **kwargs):
        if name == "gradio":
            raise ModuleNotFoundError("No module named 'gradio'")
        return import_module(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", import_without_gradio)
    with pytest.raises(InputError, match=r"pip install 'tfinvert\[studio\]'"):
        app.launch(port=0, open_browser=False)
