"""What may reach the web interface: only its own pages in a browser of this machine, and never as somebody's errand.

The interface listens on the loopback address, yet every page open in the same browser can reach it there: by a form, a
script, a frame, or a name of its own that it lets resolve to 127.0.0.1. Dagster's server answers them all, changes of
state by GET included. This ASGI wrapper lets through what its own page asks, by Host, Origin and the browser's
Sec-Fetch headers; what it serves is none of its business.
"""

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_GRAPHQL = "/graphql"
_REPORTS = "/report_"
"""Below it Dagster takes materialisations, observations and check results from anybody who posts them."""

_NO_FRAMES = [(b"x-frame-options", b"SAMEORIGIN"), (b"content-security-policy", b"frame-ancestors 'self'")]
_POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1


class Guard:
    """Wraps an ASGI application that is served on a port of the loopback address."""

    def __init__(self, app: ASGIApp, port: int):
        self._app = app
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if refusal := self._refusal(scope):
                status, reason = refusal
                await PlainTextResponse(f"refused: {reason}\n", status)(scope, receive, send)
            else:
                await self._app(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            if self._is_foreign_socket(scope):
                await receive()  # the opening handshake
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            else:
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """HTTP status and reason why a request is not let through."""
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        if not self._is_ours(headers):
            return 421, "this server is none of that name"
        if not self._is_same_origin(headers) and not _is_followed_link(method, headers):
            return 403, "asked by a page of another origin"
        if path.startswith(_REPORTS):
            return 403, "events are recorded by runs alone"
        if method == "POST":
            if path != _GRAPHQL:
                return 405, "only GraphQL is posted"
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                return 415, "GraphQL is posted as application/json"
        elif method not in ("GET", "HEAD"):
            return 405, "only GET and POST are served"
        elif path.rstrip("/") == _GRAPHQL:
            return 405, "GraphQL is posted"
        return None

    def _is_foreign_socket(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        return not self._is_ours(headers) or headers.getlist("origin") == [] or not self._is_same_origin(headers)

    def _is_ours(self, headers: Headers) -> bool:
        hosts = headers.getlist("host")
        return len(hosts) == 1 and hosts[0].lower() in self._hosts

    def _is_same_origin(self, headers: Headers) -> bool:
        """As far as the browser says; a program that is no browser sends neither header."""
        return all(origin.lower() in self._origins for origin in headers.getlist("origin")) and all(
            site in ("same-origin", "none") for site in headers.getlist("sec-fetch-site")
        )


def _is_followed_link(method: str, headers: Headers) -> bool:
    """A link to us on another page, opened as a page of its own: shows the interface and changes nothing."""
    return (
        method == "GET"
        and "origin" not in headers
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _unframed(send: Send) -> Send:
    """Answers forbid other pages to show them in a frame, where clicks can be steered."""

    async def send_unframed(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_NO_FRAMES]
        await send(message)

    return send_unframed
