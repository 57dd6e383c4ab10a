"""Starts the page."""

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

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, Callable[[], Awaitable[_Message]], _Send], Awaitable[None]]


class EmptyUploadProgress:
    """Says at once that there is none; Gradio says after 3 s that there is no such upload.

    The browser would count that as an error of the page.
    """

    def __init__(self, app: _App):
        self._app = app

    async def __call__(self, scope: _Message, receive: Callable, send: _Send) -> None:
        """Answers that request, and hands on all others."""
        asked = scope.get("path", "").endswith("/upload_progress")
        if not asked or scope.get("query_string") != b"upload_id=":
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


_MOST_BYTES = 64 * 1024 * 1024  # of a file
_SESSIONS = 100  # whose photographs are kept in memory, at most


def launch(host: str = "127.0.0.1", port: int = 7860, open_browser: bool = True) -> None:
    """Serves the page until it is interrupted.

    Args:
      host: the address it listens at; the default is reached from this machine alone.
      port: 0 for one that is free.
      open_browser: whether a browser is opened, where there is one.

    Raises:
      InputError: Gradio is missing, or the address cannot be had.
    """
    with serve(host, port) as url:
        print(f"the studio is at {url}; Ctrl-C ends it", flush=True)
        if open_browser and not webbrowser.open(url):
            print("no browser to open: open that address yourself", flush=True)
        threading.Event().wait()


@contextlib.contextmanager
def serve(host: str = "127.0.0.1", port: int = 0, file_seconds: int = 180) -> Iterator[str]:
    """The page, as long as the block runs; see `launch`.

    Args:
      host: as there.
      port: as there.
      file_seconds: see `page.build`.

    Yields:
      its address.
    """
    port = _free(host, port)
    with tempfile.TemporaryDirectory(prefix="tfinvert-studio-") as folder:
        # Read when Gradio is imported: it asks the network for nothing, and all files lie there.
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}
        # Gradio asks itself whether it is there, and would ask a proxy.
        os.environ["NO_PROXY"] = ",".join([*filter(None, [os.environ.get("NO_PROXY")]), host])
        try:
            import gradio as gr
        except ImportError as error:
            raise InputError(
                f"the studio needs Gradio: pip install 'tfinvert[studio]' ({error})"
            ) from error
        from tfinvert.studio import page

        pass

        built = page.build(file_seconds)
        built.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            footer_links=[],
            max_file_size=_MOST_BYTES,
            app_kwargs={"middleware": [(EmptyUploadProgress, (), {})]},
            state_session_capacity=_SESSIONS,
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            css=STYLE,
        )
        try:
            yield f"http://{_shown(host)}:{port}/"
        finally:
            built.close(verbose=False)


def _free(host: str, port: int) -> int:
    """The port itself, or one that is free for 0.

    Raises:
      InputError: something listens there, or the address is none of this machine.
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
            f"cannot listen at {host}:{port}: {reason}; give another host or port"
        ) from error


def _shown(host: str) -> str:
    """A host as it stands in an address that can be opened."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host
