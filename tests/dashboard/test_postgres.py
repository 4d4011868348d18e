"""The pages over PostgreSQL: what each role sees, who saw what, accounts and logins."""

from collections.abc import Iterator

import pytest

from fer_lab.dashboard import accounts
from fer_lab.live.store import Store, open_store

from ..live.postgres import postgres  # noqa: F401
from .conftest import PASSWORD, csrf, filled, sign_in
from .test_pages import PATHS, SEEN, rows


@pytest.fixture
def store(postgres: str, cheap: None) -> Iterator[Store]:  # noqa: F811
    store = filled(open_store(postgres))
    yield store
    store.close()


def test_roles_files_and_the_log(browse, store):
    for name, statuses in SEEN.items():
        client = browse(name)
        assert tuple(client.get(path).status_code for path in PATHS) == statuses
    assert len(rows(browse("ada").get("/lessons/1/seconds.csv").text)) == 101
    assert browse("rita").get("/compare?lesson=1&lesson=2").status_code == 200
    assert "Fractions" in browse("ada").get("/?class=7a").text
    actions = {(entry.user, entry.action, entry.lesson_id) for entry in accounts.noted(store)}
    assert {("ada", "exported seconds", 1), ("rita", "compared", 2), ("root", "watched live", 3)} <= actions
    *_, second, first = accounts.noted(store)
    assert [entry.id for entry in accounts.noted(store, before=second.id)] == [first.id]


def test_a_running_lesson_goes_on(browse, store):
    client = browse("ada")
    before = client.get("/lessons/3/panel").headers["X-Version"]
    assert client.get(f"/lessons/3/panel?version={before}").status_code == 204
    store.add_second(3, 40, 6.0, 6, [0.6, 0.3, 0.1], 0.5, 0.25, 0.75)
    after = client.get(f"/lessons/3/panel?version={before}")
    assert (after.status_code, after.headers["X-Version"].split(".")[0]) == (200, "40")


def test_accounts_come_change_and_go(browse, store):
    client = browse("root")
    token = csrf(client.get("/users").text)
    new = {"name": "émile", "role": "teacher", "password": PASSWORD, "classes": "8b, 7a"}
    for status in (200, 400):  # the second time the name is taken
        assert client.post("/users", data={"csrf": token, "do": "add"} | new).status_code == status
    teacher = browse("émile")
    assert teacher.get("/lessons/2").status_code == 200
    client.post("/users", data={"csrf": token, "do": "change", "name": "émile", "role": "teacher", "classes": "7a"})
    assert teacher.get("/lessons/2").status_code == 303  # its logins are over
    assert browse("émile").get("/lessons/2").status_code == 404
    assert client.post("/users", data={"csrf": token, "do": "remove", "name": "émile"}).status_code == 200
    assert sign_in(browse(), "émile").status_code == 401
    assert client.post("/users", data={"csrf": token, "do": "remove", "name": "root"}).status_code == 400
