"""The play server: one page and a WebSocket; ``serve`` runs it until Ctrl-C."""

import asyncio
import contextlib
import errno
import secrets
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from functools import partial
from importlib import resources

import uvicorn
from fastapi import FastAPI, WebSocket
from fastapi.responses import Response

from hallucade.play.connection import Connection
from hallucade.play.gate import ANY_HOST, LOCAL_HOSTS, Gate
from hallucade.play.limits import Limits
from hallucade.play.protocol import MAX_MESSAGE_BYTES
from hallucade.play.session_pool import SessionPool
from hallucade.rollout import World

SCRIPTS = ("app.js", "axes.js", "gauges.js", "hud.js", "look.js", "pad.js", "protocol.js", "screen.js")
PAGE = ("index.html", "style.css", "icon.svg", *SCRIPTS)
MEDIA_TYPES = {"html": "text/html", "css": "text/css", "svg": "image/svg+xml", "js": "text/javascript"}
SHUTDOWN_SECONDS = 3  # for sockets to close and tasks to end


class PortInUse(ValueError):
    """Another program listens there."""


def serve(
    world: World | Callable[[], World],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Let players in until Ctrl-C.

    Args:
        world: what is dreamed, or what loads it while the page already says so.
        host: address to bind. Beyond this machine the page's address carries a token that players must show.
        port: 0 takes a free one.
        limits: bounds on players, see `Limits`.
        ready: called once with the page's address, after warm-up.

    Raises:
        PortInUse: another program listens there.
        ValueError: an address that is not this machine's, a model without prompts, or what `world` raises.
    """
    server = PlayServer(world, host=host, port=port, limits=limits, ready=ready)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after its own graceful shutdown
        server.run()


@contextlib.contextmanager
def serving(
    world: World | Callable[[], World], *, host: str = "127.0.0.1", port: int = 0, limits: Limits | None = None
) -> Generator[str]:
    """Serve from a background thread, for notebooks, benchmarks and tests; yields the page's address once ready.

    Raises:
        ValueError: see ``serve``.
    """
    came_up = threading.Event()
    server = PlayServer(world, host=host, port=port, limits=limits, ready=lambda _: came_up.set())
    failures: list[BaseException] = []

    def run() -> None:
        try:
            server.run()
        except BaseException as error:
            failures.append(error)
        finally:
            came_up.set()

    thread = threading.Thread(target=run, name="hallucade-play-server", daemon=True)
    thread.start()
    try:
        came_up.wait()
        if not failures:
            yield server.url
    finally:
        server.stop()
        thread.join()
    if failures:
        raise failures[0]


class PlayServer:
    """Binds its port when built, so that a port in use is known before a model is loaded."""

    def __init__(
        self,
        world: World | Callable[[], World],
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        limits: Limits | None = None,
        ready: Callable[[str], None] | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._load = (lambda: world) if isinstance(world, World) else world
        self._ready = ready
        self._failure: BaseException | None = None
        self._socket = _bind(host, port)
        self._token = "" if host in LOCAL_HOSTS else secrets.token_urlsafe(16)
        self.url = _url(host, self._socket.getsockname()[1], self._token)
        self._uvicorn = uvicorn.Server(self._settings(Gate(self._app(), host)))

    def run(self) -> None:
        """Serve until ``stop`` or a signal.

        Raises:
            ValueError: a model without prompts; or what loading raised.
        """
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self._socket.close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End ``run``, from any thread."""
        self._uvicorn.should_exit = True

    def _app(self) -> FastAPI:
        app = FastAPI(lifespan=self._lifespan, openapi_url=None, docs_url=None, redoc_url=None)
        for name in PAGE:  # only these: no path that a client sends ever reaches the file system
            path = "/" if name == "index.html" else f"/{name}"
            app.add_api_route(path, partial(_static, name), methods=["GET", "HEAD"])
        app.add_api_websocket_route("/play", self._play)
        return app

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncGenerator[None]:
        self._pool = SessionPool(self._load, self._limits.sessions)
        preparation = asyncio.create_task(self._prepare())
        try:
            yield
        finally:
            preparation.cancel()
            await asyncio.to_thread(self._pool.close)

    async def _prepare(self) -> None:
        try:
            await self._pool.prepare()
        except Exception as error:
            self._failure = error
            self.stop()
        else:
            if self._ready is not None:
                self._ready(self.url)

    async def _play(self, websocket: WebSocket) -> None:
        await Connection(websocket, self._pool, self._limits, self._token).run()

    def _settings(self, app: Gate) -> uvicorn.Config:
        return uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            ws="websockets-sansio",
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_ping_interval=10,
            ws_ping_timeout=20,
            ws_per_message_deflate=False,  # costs each player half a megabyte and time, and frames are dense already
            limit_concurrency=self._limits.connections,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            server_header=False,
            lifespan="on",
        )


def _static(name: str) -> Response:
    content = resources.files("hallucade.play").joinpath("static", name).read_bytes()
    return Response(content, media_type=MEDIA_TYPES[name.rsplit(".", 1)[1]])


def _url(host: str, port: int, token: str) -> str:
    name = socket.gethostname() if host in ANY_HOST else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"#token={token}" if token else "")


def _bind(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise ValueError(f"port is {port}; choose one from 1 to 65535, or 0 for any free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"port {port} of {host} is in use by another program; choose one with --port") from None
        raise ValueError(
            f"cannot serve on {host} port {port}: {error.strerror or error}; check --host and --port"
        ) from None
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # a player whose line went dead, in milliseconds
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
    return listener
