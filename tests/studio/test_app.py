"""Starting the server: addresses that are not available, and a missing Gradio."""

import builtins
import socket

import pytest

from tfinvert.errors import InputError
from tfinvert.studio import app


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
