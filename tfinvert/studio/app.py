"""Starts the studio's web server."""

import contextlib
import os
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from tfinvert.errors import InputError
from tfinvert.studio.render import STYLE

_MAX_FILE_BYTES = 64 * 1024 * 1024
_MAX_SESSIONS = 100  # whose photographs are kept in memory

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, Callable[[], Awaitable[_Message]], _Send], Awaitable[None]]


def launch(host: str = "127.0.0.1", port: int = 7860, open_browser: bool = True) -> None:
    """Serves the page until the program is interrupted.

    Args:
      host: address to listen at; the default is reachable from this machine only.
      port: port to listen at; 0 for any free port.
      open_browser: whether to open the page in a web browser, if there is one.

    Raises:
      InputError: Gradio is not installed, or the address is not available.
    """
    with serve(host, port) as url:
        print(f"The studio runs at {url} (Ctrl-C stops it)", flush=True)
        if open_browser and not webbrowser.open(url):
            print("No web browser was found; open the address yourself", flush=True)
        threading.Event().wait()


@contextlib.contextmanager
def serve(host: str = "127.0.0.1", port: int = 0, file_seconds: int = 180) -> Iterator[str]:
    """Serves the page for the duration of the `with` block.

    Args:
      host: see `launch`.
      port: see `launch`.
      file_seconds: see `page.build`.

    Yields:
      The address of the page.

    Raises:
      InputError: see `launch`.
    """
    port = _reserve_port(host, port)
    with tempfile.TemporaryDirectory(prefix="tfinvert-studio-") as folder:
        # Gradio reads these when it is imported: no analytics, and all files in the folder.
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}
        with _without_proxies():
            blocks = _launch_blocks(host, port, file_seconds)
        try:
            yield f"http://{_url_host(host)}:{port}/"
        finally:
            blocks.close(verbose=False)


def _launch_blocks(host: str, port: int, file_seconds: int) -> Any:
    """Builds the page and starts its server in another thread; returns the Gradio Blocks."""
    try:
        import gradio as gr
    except ImportError as error:
        raise InputError(
            f"the studio needs Gradio ({error}); pip install 'tfinvert[studio]'"
        ) from error
    from tfinvert.studio import page

    blocks = page.build(file_seconds)
    blocks.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        footer_links=[],
        max_file_size=_MAX_FILE_BYTES,
        app_kwargs={"middleware": [(EmptyUploadProgress, (), {})]},
        state_session_capacity=_MAX_SESSIONS,
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=STYLE,
    )
    return blocks


@contextlib.contextmanager
def _without_proxies() -> Iterator[None]:
    """Makes HTTP clients ignore the proxies of the environment.

    Gradio requests a page of its own server, which a proxy need not reach, and creates clients when
    it is imported, which fails for addresses that its HTTP library does not support.
    """
    before = os.environ.get("no_proxy")  # which has priority over NO_PROXY
    os.environ["no_proxy"] = "*"
    try:
        yield
    finally:
        del os.environ["no_proxy"]
        if before is not None:
            os.environ["no_proxy"] = before


class EmptyUploadProgress:
    """ASGI middleware that answers progress requests of uploads without an identifier.

    Gradio's camera sends such a request before an upload has its identifier. Gradio would answer
    after 3 s that there is no such upload, which the browser reports as an error of the page.
    """

    def __init__(self, app: _App):
        self._app = app

    async def __call__(self, scope: _Message, receive: Callable, send: _Send) -> None:
        """Answers such a request with an empty event stream, and forwards all others."""
        is_progress = scope.get("path", "").endswith("/upload_progress")
        if not is_progress or scope.get("query_string") != b"upload_id=":
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _reserve_port(host: str, port: int) -> int:
    """Returns the port, or a free one for 0.

    Raises:
      InputError: the port is in use, or the address does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return probe.getsockname()[1]
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot listen at {host}:{port}: {reason}; choose another --host or --port"
        ) from error


def _url_host(host: str) -> str:
    """Formats a host for a URL that a browser on this machine can open."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host
