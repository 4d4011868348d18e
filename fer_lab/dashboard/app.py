"""The web application: who may ask for what, and what every answer carries."""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from fer_lab.dashboard import accounts
from fer_lab.dashboard.accounts import Login
from fer_lab.dashboard.attempts import Attempts
from fer_lab.dashboard.headers import Guard
from fer_lab.dashboard.settings import Settings
from fer_lab.dashboard.views import Limits, Newest
from fer_lab.dashboard.words import FILTERS
from fer_lab.errors import FerLabError
from fer_lab.live.legal import NOTICE
from fer_lab.live.store import Store

_HERE = Path(__file__).parent
EVERYONE = accounts.ROLES
WATCHERS = ("admin", "teacher")
ADMINS = ("admin",)
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><rect width="24" height="24" rx="5" fill="#0072b2"/>'
    '<path d="M3 14c3 0 3-6 6-6s3 8 6 8 3-10 6-10" fill="none" stroke="#fff" stroke-width="2.2"/></svg>'
)


@dataclass
class Site:
    """What the pages share.

    setup_token: makes the first admin; None where there is an account. seen: lessons that a login (by its form token)
    has in the access log.
    """

    store: Store
    settings: Settings
    setup_token: str | None
    templates: Environment
    guesses: Attempts
    newest: Newest
    limits: Limits
    seen: set[tuple[str, int]] = field(default_factory=set)

    @property
    def cookie(self) -> str:
        """Name of the login's cookie; with the prefix browsers take it over TLS and from this host only."""
        return "__Host-login" if self.settings.encrypted else "login"


@dataclass
class Visit:
    """One request. form: the fields that were sent; csrf: the token that forms on the answer carry."""

    site: Site
    request: Request
    login: Login | None
    form: Mapping[str, str]
    csrf: str
    fields: Sequence[tuple[str, str]] = field(default_factory=list)

    @property
    def who(self) -> Login:
        """The login, on pages that need one."""
        if self.login is None:
            raise HTTPException(401)
        return self.login

    @property
    def address(self) -> str:
        """Who is counted as one: an IPv4 address, or the /64 network of an IPv6 one, all of it one machine's."""
        host = self.request.client.host if self.request.client else "unknown"
        try:
            ip = ipaddress.IPv6Address(host)
        except ValueError:
            return host
        return str(ip.ipv4_mapped or ipaddress.IPv6Network((int(ip), 64), strict=False))

    def page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A rendered template; everything that it prints is escaped."""
        common = {"login": self.login, "csrf": self.csrf, "notice": NOTICE, "path": self.request.url.path}
        html = self.site.templates.get_template(template).render(common | {"message": "", "error": ""} | values)
        return HTMLResponse(html, status)

    def note(self, action: str, lesson_id: int | None = None) -> None:
        accounts.note(self.site.store, self.login.name if self.login else "(nobody)", action, lesson_id)

    def set_cookie(self, response: Response, token: str) -> Response:
        response.set_cookie(
            self.site.cookie, token, path="/", httponly=True, samesite="strict", secure=self.site.settings.encrypted
        )
        return response


Handler = Callable[[Visit], Response]


def go(address: str) -> RedirectResponse:
    """To another page of ours, by GET."""
    return RedirectResponse(address, 303)


def route(path: str, handler: Handler, roles: Sequence[str] = EVERYONE, method: str = "GET") -> Route:
    """A page. roles: who may ask for it; empty: whoever comes."""

    async def endpoint(request: Request) -> Response:
        fields: list[tuple[str, str]] = []
        if method == "POST":
            async with request.form(max_files=0, max_fields=100) as form:
                fields = [(key, value) for key, value in form.multi_items() if isinstance(value, str)]
        return await run_in_threadpool(_answer, request, fields, handler, roles)

    return Route(path, endpoint, methods=[method])


def _answer(request: Request, fields: list[tuple[str, str]], handler: Handler, roles: Sequence[str]) -> Response:
    site: Site = request.app.state.site
    token, refreshes = request.cookies.get(site.cookie), request.url.path.endswith("/panel")
    login = accounts.logged_in(site.store, token, site.settings.idle_minutes, click=not refreshes)
    fresh = None if login or token else secrets.token_urlsafe(32)
    # before a login forms repeat a digest of the cookie's token. Over TLS no other site can read or set it (__Host-);
    # over plain HTTP, on this machine only, other servers of this machine can: cookies know no ports
    csrf = login.csrf if login else hashlib.sha256(f"form {token or fresh}".encode()).hexdigest()
    visit = Visit(site, request, login, dict(fields), csrf, fields)
    if roles and login is None:
        return Response(status_code=401) if refreshes else go(_login_address(request))
    if login is not None and roles and login.role not in roles:
        visit.note(f"refused: {request.url.path}")
        return visit.page(
            "error.html.j2", 403, title="Not for this role", text=f"The role {login.role} has no such page."
        )
    if request.method == "POST" and not hmac.compare_digest(visit.form.get("csrf", "").encode(), visit.csrf.encode()):
        text = "This form is out of date. Go back, load the page again and repeat what you did."
        return visit.page("error.html.j2", 403, title="Form out of date", text=text)
    response = handler(visit)
    return visit.set_cookie(response, fresh) if fresh else response


def _login_address(request: Request) -> str:
    back = request.url.path
    return f"/login?next={back}" if request.method == "GET" and back != "/" else "/login"


def build(store: Store, settings: Settings) -> Starlette:
    """The application over a store. Its `state.site.setup_token` is to be shown to whoever runs it, if there is one."""
    from fer_lab.dashboard import admin, pages, signin  # they import this module

    templates = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(FILTERS)
    templates.globals.update(refresh_ms=round(1000 * settings.refresh_s), shortest=accounts.SHORTEST)
    token = None if accounts.users(store) else secrets.token_urlsafe(16)
    app = Starlette(
        routes=[
            *pages.ROUTES,
            *signin.ROUTES,
            *admin.ROUTES,
            Route("/favicon.ico", _icon),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ],
        middleware=[
            Middleware(Guard, encrypted=settings.encrypted),
            Middleware(TrustedHostMiddleware, allowed_hosts=settings.allowed_hosts, www_redirect=False),
        ],
        exception_handlers={HTTPException: _http_error, FerLabError: _store_error, 500: _server_error},
    )
    limits = Limits(settings.least_faces, settings.aggregate_s)
    guesses = Attempts(settings.attempts, 60 * settings.attempts_minutes)
    app.state.site = Site(store, settings, token, templates, guesses, Newest(settings.fresh_s), limits)
    return app


def _icon(request: Request) -> Response:
    return Response(_ICON, media_type="image/svg+xml")


def _http_error(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    texts = {404: ("Nothing here", "There is no such page, or it is not among those that you may see.")}
    title, text = texts.get(status, ("Not possible", "This request cannot be answered."))
    return _bare(request, status, title, text)


def _store_error(request: Request, error: Exception) -> Response:
    return _bare(request, 503, "The store does not answer", str(error))


def _server_error(request: Request, error: Exception) -> Response:
    return _bare(request, 500, "Something failed", "The terminal that runs the dashboard says what.")


def _bare(request: Request, status: int, title: str, text: str) -> Response:
    return Visit(request.app.state.site, request, None, {}, "").page("error.html.j2", status, title=title, text=text)
