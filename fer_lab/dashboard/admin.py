"""Accounts and the access log, for admins."""

from starlette.responses import Response

from fer_lab.dashboard import accounts
from fer_lab.dashboard.app import ADMINS, Visit, route
from fer_lab.errors import FerLabError


def users_page(visit: Visit, status: int = 200, **values: str) -> Response:
    known = sorted({lesson.class_name for lesson in visit.site.store.lessons()})
    everyone = accounts.users(visit.site.store)
    return visit.page("users.html.j2", status, users=everyone, roles=accounts.ROLES, known=known, **values)


def change_users(visit: Visit) -> Response:
    """Add, change or remove an account, as the pressed button says."""
    store, form = visit.site.store, visit.form
    name, role, password = form.get("name", "").strip(), form.get("role", ""), form.get("password", "")
    classes = form.get("classes", "").split(",")
    try:
        match form.get("do"):
            case "add":
                accounts.add_user(store, name, password, role, classes)
                done = f"{name} may sign in now, as {role}."
            case "change":
                accounts.change_user(store, name, role=role, classes=classes, password=password or None)
                done = f"{name} is changed, and has to sign in again."
            case "remove":
                accounts.remove_user(store, name)
                done = f"{name} is removed."
            case _:
                raise FerLabError("The form does not say what to do: use its buttons.")
    except FerLabError as error:
        return users_page(visit, 400, error=str(error))
    visit.note(f"{form['do']} user {name}" + (f" as {role}" if form["do"] != "remove" else ""))
    return users_page(visit, message=done)


def log_page(visit: Visit) -> Response:
    before = visit.request.query_params.get("before", "")
    entries = accounts.noted(visit.site.store, int(before) if before.isdecimal() and len(before) < 10 else None)
    visit.note("read the access log")
    titles = {lesson.id: lesson.title for lesson in visit.site.store.lessons()}
    return visit.page("log.html.j2", entries=entries, titles=titles)


ROUTES = [
    route("/users", users_page, ADMINS),
    route("/users", change_users, ADMINS, "POST"),
    route("/log", log_page, ADMINS),
]
