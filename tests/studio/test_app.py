"""How the page starts, and how it does not."""

import builtins
import socket

import pytest

from tfinvert.errors import InputError
from tfinvert.studio import app


def test_a_port_in_use_is_a_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen at 127.0.0.1:{port}: .*in use"):
            app.launch(port=port, open_browser=False)


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 7860), ("127.0.0.1", 99999)])
def test_an_address_that_cannot_be_had_is_a_line(host, port):
    with pytest.raises(InputError, match=f"cannot listen at {host}:{port}: "):
        app.launch(host, port, open_browser=False)


def test_without_gradio_a_line_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **options):
        if name == "gradio":
            raise ModuleNotFoundError("No module named 'gradio'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"pip install 'tfinvert\[studio\]'"):
        app.launch(port=0, open_browser=False)
