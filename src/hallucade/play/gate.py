"""Who may talk to the server: the page it serves itself, under a name it is known by, and nobody else.

A page of another site can open a WebSocket to this machine (CORS does not cover them), and a name of another site can
be made to point at it (DNS rebinding). The Origin check stops the first, the Host check the second.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANY_HOST = frozenset({"0.0.0.0", "::"})  # bound to all addresses
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",  # a page from before an update must not speak to a server from after it
}


class Gate:
    """ASGI middleware: refuses foreign Host and Origin headers, and adds the page's security headers.

    Known names are those of this machine to itself, and the address `bound`. A server bound to all addresses cannot
    know its names: there, any Host will do, and the token stands in.
    """

    def __init__(self, app: ASGIApp, bound: str) -> None:
        self._app = app
        self._hosts = None if bound in ANY_HOST else LOCAL_HOSTS | {bound.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        refusal = self._refusal(Headers(scope=scope), scope["type"])
        if refusal is None:
            return await self._app(scope, receive, _with_page_headers(send))
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008, "reason": refusal})
        return await PlainTextResponse(refusal + "\n", 403)(scope, receive, send)

    def _refusal(self, headers: Headers, kind: str) -> str | None:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or (self._hosts is not None and _hostname(f"//{hosts[0]}") not in self._hosts):
            return "unknown host name; open the address that the server printed"
        address = f"://{hosts[0]}".lower()
        same_origin = len(origins) == 1 and origins[0].lower() in ("http" + address, "https" + address)
        if (kind == "websocket" or origins) and not same_origin:
            return "another site's page may not use this server"
        return None


def _hostname(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _with_page_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in PAGE_HEADERS.items():
                headers[name] = value
        await send(message)

    return send_with_headers
