"""Serving the pages: in this process, or in one beside a running lesson."""

import multiprocessing
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fer_lab.dashboard.app import build
from fer_lab.dashboard.settings import Settings, read_settings
from fer_lab.errors import FerLabError
from fer_lab.live.store import Store, open_store
from fer_lab.schema import compose

_PATIENCE_S = 60


def listening(settings: Settings) -> socket.socket:
    """A socket on which browsers wait until they are answered.

    Raises:
        FerLabError: the port is taken, or the host is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((settings.host, settings.port))
        bound.listen()
    except OSError as error:
        bound.close()
        raise FerLabError(
            f"The dashboard cannot listen at {settings.host}:{settings.port} ({error.strerror}): "
            "say dashboard.port=<another>, or beside a run 'dashboard={port: <another>}'."
        ) from error
    return bound


def server(store: Store, settings: Settings) -> tuple[uvicorn.Server, str]:
    """A server to run, and what to print before: its address, and the token while there is no account.

    Lessons whose run was killed long ago stop being live.
    """
    store.end_lost()
    app = build(store, settings)
    words = f"Dashboard: {settings.address}"
    if token := app.state.site.setup_token:
        words += f"\nNo account yet. Make the first admin there with this token, which is shown only here: {token}"
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=3,
        ssl_certfile=settings.certificate, ssl_keyfile=settings.key, h11_max_incomplete_event_size=16_384,
        proxy_headers=settings.behind_proxy, forwarded_allow_ips="127.0.0.1", limit_concurrency=500,
    )  # fmt: skip
    return uvicorn.Server(config), words


def serve(store: Store, settings: Settings, say: Callable[[str], Any] = print) -> None:
    """Serve until SIGINT or SIGTERM. say: called with what the terminal is to show, once the port is ours."""
    with listening(settings) as bound, suppress(KeyboardInterrupt):
        if threading.current_thread() is threading.main_thread():  # uvicorn ends well, then raises the signal again
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        web, words = server(store, settings)
        say(words)
        web.run([bound])


@contextmanager
def dashboard_beside(store: str, changed: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Inside, the pages of a store are served by a process of their own, with the settings of conf/dashboard.yaml.

    Args:
        store: a file or a database's URL; handed over through a pipe, so no password is in the list of processes.
        changed: settings other than those, for example `{"port": 8051}`.

    Raises:
        FerLabError: it does not start, for example because the port is taken.
    """
    spawn = multiprocessing.get_context("spawn")  # the lesson's process holds threads and a camera
    answer, ours = spawn.Pipe(duplex=False)
    process = spawn.Process(
        target=_serve_beside, args=(store, dict(changed or {}), ours), name="dashboard", daemon=True
    )
    process.start()
    ours.close()
    try:
        good, words = answer.recv() if answer.poll(_PATIENCE_S) else (False, "The dashboard does not start.")
    except EOFError:
        good, words = False, "The dashboard ended as it started; its message is above."
    try:
        if not good:
            raise FerLabError(words)
        print(words)
        yield
    finally:
        process.terminate()
        process.join(10)


def _serve_beside(store: str, changed: dict[str, Any], ours: Any) -> None:
    try:
        settings = read_settings(OmegaConf.merge(compose("dashboard").dashboard, changed))
        serve(open_store(store), settings, lambda words: ours.send((True, words)))
    except (FerLabError, OmegaConfBaseException) as error:
        ours.send((False, str(error)))
