"""Signing in and out, the first account, one's own password."""

import hmac

from starlette.responses import Response

from fer_lab.dashboard import accounts
from fer_lab.dashboard.app import Visit, go, route
from fer_lab.errors import FerLabError

_WRONG = "This name and password do not belong together."


def _next(visit: Visit) -> str:
    """Where to go after signing in: one of our own pages, never another site's."""
    wanted = visit.form.get("next") or visit.request.query_params.get("next") or "/"
    ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if ours else "/"


def login_page(visit: Visit) -> Response:
    if visit.site.setup_token and not accounts.users(visit.site.store):
        return go("/setup")
    return go("/") if visit.login else visit.page("login.html.j2", next=_next(visit))


def log_in(visit: Visit) -> Response:
    """Every attempt counts before the password is looked at, and no more once it was the right one."""
    site, name = visit.site, visit.form.get("name", "")[:64].strip()
    if not site.guesses.allow_all(_limits(visit, name)):
        if site.guesses.allow(f"noted {visit.address}"):  # the log cannot be flooded
            visit.note(f"too many attempts: {_known(visit, name)}")
        return visit.page("login.html.j2", 429, next=_next(visit), error=_too_often(visit))
    if not accounts.password_fits(site.store, name, visit.form.get("password", "")):
        visit.note(f"wrong password: {_known(visit, name)}")
        return visit.page("login.html.j2", 401, next=_next(visit), error=_WRONG)
    _forgive(visit, name)
    accounts.note(site.store, name, "signed in")
    token = accounts.log_in(site.store, name, site.settings.session_hours)  # never the token from before the login
    return visit.set_cookie(go(_next(visit)), token)


def _limits(visit: Visit, name: str) -> dict[str, int]:
    """Who may guess a password how often, in multiples of dashboard.attempts: an address, it for this account, and
    everybody together for this account."""
    return {visit.address: 6, f"{visit.address} {name}": 1, f"account {name}": 20}


def _forgive(visit: Visit, name: str) -> None:
    """The right password: this was no guess, and those before it from this address were slips."""
    address, pair, account = _limits(visit, name)
    visit.site.guesses.forget(pair)
    for key in (address, account):
        visit.site.guesses.take_back(key)


def _too_often(visit: Visit) -> str:
    return f"Too many attempts: wait {visit.site.settings.attempts_minutes:g} minutes and try again."


def _known(visit: Visit, name: str) -> str:
    """A name for the log, if it is one: people type passwords into the wrong field."""
    return name if any(user.name == name for user in accounts.users(visit.site.store)) else "(unknown name)"


def log_out(visit: Visit) -> Response:
    visit.note("signed out")
    accounts.log_out(visit.site.store, visit.request.cookies.get(visit.site.cookie, ""))
    response = go("/login")
    response.delete_cookie(visit.site.cookie, path="/", secure=visit.site.settings.encrypted, httponly=True)
    return response


def setup_page(visit: Visit) -> Response:
    if visit.site.setup_token is None or accounts.users(visit.site.store):
        return go("/login")
    return visit.page("setup.html.j2", name="")


def set_up(visit: Visit) -> Response:
    """Make the first admin, for whoever can read the terminal."""
    site, form = visit.site, visit.form
    if site.setup_token is None:
        return go("/login")
    name = form.get("name", "").strip()
    if not site.guesses.allow(f"setup {visit.address}", 2):
        return visit.page("setup.html.j2", 429, name=name, error=_too_often(visit))
    if not hmac.compare_digest(form.get("token", "").strip().encode(), site.setup_token.encode()):
        return visit.page("setup.html.j2", 401, name=name, error="This is not the token that the terminal shows.")
    try:
        _same_twice(visit)
        accounts.add_user(site.store, name, form.get("password", ""), "admin", first=True)
    except FerLabError as error:
        return visit.page("setup.html.j2", 400, name=name, error=str(error))
    site.setup_token = None
    accounts.note(site.store, name, "made the first account")
    return visit.set_cookie(go("/"), accounts.log_in(site.store, name, site.settings.session_hours))


def _same_twice(visit: Visit) -> None:
    if visit.form.get("password") != visit.form.get("again"):
        raise FerLabError("The two passwords differ: type the same one twice.")


def account_page(visit: Visit) -> Response:
    return visit.page("account.html.j2")


def change_password(visit: Visit) -> Response:
    """One's own; ends all one's logins, this one too."""
    site, form = visit.site, visit.form
    if not site.guesses.allow_all(_limits(visit, visit.who.name)):
        return visit.page("account.html.j2", 429, error=_too_often(visit))
    try:
        if not accounts.password_fits(site.store, visit.who.name, form.get("old", "")):
            raise FerLabError("The present password is another one.")
        _forgive(visit, visit.who.name)
        _same_twice(visit)
        accounts.change_user(site.store, visit.who.name, password=form.get("password", ""))
    except FerLabError as error:
        return visit.page("account.html.j2", 400, error=str(error))
    visit.note("changed the own password")
    return go("/login")


ROUTES = [
    route("/login", login_page, ()),
    route("/login", log_in, (), "POST"),
    route("/setup", setup_page, ()),
    route("/setup", set_up, (), "POST"),
    route("/logout", log_out, method="POST"),
    route("/account", account_page),
    route("/account", change_password, method="POST"),
]
