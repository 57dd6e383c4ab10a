"""Where Gradio's camera asks for the progress of an upload that has no name yet."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, Callable[[], Awaitable[_Message]], _Send], Awaitable[None]]


class NoProgress:
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
