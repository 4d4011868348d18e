"""Who gets in, for how long, and what every answer carries."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select
from starlette.testclient import TestClient

from fer_lab.dashboard import accounts
from fer_lab.dashboard.app import build
from fer_lab.dashboard.attempts import Attempts
from fer_lab.errors import FerLabError
from fer_lab.live.store import Store, open_store
from fer_lab.live.store_tables import WebSession

from .conftest import PASSWORD, csrf, sign_in


def change_login(store: Store, **values: datetime) -> None:
    with store.writing() as session:
        for row in session.scalars(select(WebSession)):
            for key, value in values.items():
                setattr(row, key, value)


def actions(store: Store) -> list[tuple[str, str, int | None]]:
    return [(entry.user, entry.action, entry.lesson_id) for entry in reversed(accounts.noted(store))]


def test_the_law_is_on_the_login_page_and_on_every_other(browse):
    for page in (browse().get("/login"), browse("ada").get("/")):
        assert "Article 5(1)(f)" in page.text


def test_signing_in_and_out(browse, store):
    client = browse()
    assert (client.get("/").status_code, client.get("/").headers["location"]) == (303, "/login")
    before = client.get("/login") and client.cookies["login"]
    answer = sign_in(client, "ada")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert client.cookies["login"] != before  # a token known from before the login is worth nothing after it
    page = client.get("/")
    assert page.status_code == 200
    client.post("/logout", data={"csrf": csrf(page.text)})
    assert client.get("/").headers["location"] == "/login"
    assert [(user, action) for user, action, _ in actions(store)] == [
        ("ada", "signed in"), ("ada", "list of lessons"), ("ada", "signed out"),
    ]  # fmt: skip


def test_the_cookie_of_a_login_that_was_ended_opens_nothing(browse):
    client = browse("ada")
    token = client.cookies["login"]
    client.post("/logout", data={"csrf": csrf(client.get("/").text)})
    client.cookies.set("login", token)
    assert client.get("/").headers["location"] == "/login"


def test_only_hashes_are_kept(browse, store, tmp_path):
    client = browse("ada")
    everything = b"".join(file.read_bytes() for file in tmp_path.glob("lessons.sqlite*"))
    assert client.cookies["login"].encode() not in everything
    assert PASSWORD.encode() not in everything
    assert b"$argon2id$" in everything


def test_the_hash_is_as_slow_as_rfc_9106_wants_it():
    assert isinstance(accounts._HASHER, PasswordHasher)
    assert (accounts._HASHER.memory_cost, accounts._HASHER.time_cost, accounts._HASHER.type.name) == (65536, 3, "ID")


@pytest.mark.parametrize(
    ("name", "password"),
    [("ada", "wrong"), ("nobody", PASSWORD), ("ada' OR '1'='1", PASSWORD), ("ada", "' OR 1=1 --"), ("", ""),
     ("ada", PASSWORD + "x" * 300)],
)  # fmt: skip
def test_wrong_pairs_all_get_the_same_answer(name, password, browse, store):
    client = browse()
    answer = sign_in(client, name, password)
    assert answer.status_code == 401
    assert "do not belong together" in answer.text
    assert client.get("/").headers["location"] == "/login"
    ((_, action, _),) = actions(store)
    assert action == ("wrong password: ada" if name == "ada" else "wrong password: (unknown name)")


def test_guessing_is_stopped_for_the_right_password_too(browse, store):
    client = browse(None, "dashboard.attempts=3")
    assert [sign_in(client, "ada", "wrong").status_code for _ in range(3)] == [401] * 3
    answer = sign_in(client, "ada", PASSWORD)
    assert (answer.status_code, "wait 15 minutes" in answer.text) == (429, True)
    assert sign_in(browse(), "rita").status_code == 303  # another account from the same address is not locked out
    assert actions(store)[3][1] == "too many attempts: ada"


def test_one_address_may_not_try_many_accounts(browse):
    client = browse(None, "dashboard.attempts=2")
    assert [sign_in(client, f"user{index}", "wrong").status_code for index in range(13)] == [401] * 12 + [429]


def test_right_passwords_are_no_attempts(browse):
    client = browse(None, "dashboard.attempts=1")
    assert [sign_in(browse(), name).status_code for name in ("ada", "rita", "root") * 7] == [303] * 21
    assert [sign_in(client, f"user{index}", "wrong").status_code for index in range(7)] == [401] * 6 + [429]


def test_an_address_that_may_try_no_more_leaves_nothing_in_memory(browse):
    client = browse(None, "dashboard.attempts=1")
    for index in range(6):
        sign_in(client, f"user{index}", "wrong")
    attempts = client.app.state.site.guesses
    sign_in(client, "one more", "wrong")  # noted in the log, once
    before = set(attempts.times)
    for index in range(20):
        assert sign_in(client, f"other{index}", "wrong").status_code == 429
    assert set(attempts.times) == before


def test_a_refused_pair_uses_up_nothing_of_its_address(browse):
    client = browse(None, "dashboard.attempts=1")
    assert [sign_in(client, "ada", "wrong").status_code for _ in range(20)] == [401] + [429] * 19
    assert sign_in(client, "rita").status_code == 303


def test_a_stolen_login_does_not_make_guessing_the_password_easier(browse, store, monkeypatch):
    from fer_lab.dashboard.app import Visit

    client, places = browse("ada", "dashboard.attempts=1"), iter(range(1000))
    form = {"csrf": csrf(client.get("/account").text), "old": "wrong", "password": PASSWORD, "again": PASSWORD}
    monkeypatch.setattr(Visit, "address", property(lambda visit: f"10.0.0.{next(places)}"))
    answers = [client.post("/account", data=form).status_code for _ in range(25)]
    assert answers == [400] * 20 + [429] * 5


@pytest.mark.parametrize(
    ("host", "counted"),
    [("10.0.0.7", "10.0.0.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("::ffff:10.0.0.7", "10.0.0.7"),
     ("fe80::1%eth0", "fe80::/64"), ("testclient", "testclient")],
)  # fmt: skip
def test_an_ipv6_network_is_one_address(host, counted, browse):
    client = browse()
    seen = TestClient(client.app, base_url="http://localhost", client=(host, 1))
    sign_in(seen, "ada", "wrong")
    assert counted in client.app.state.site.guesses.times


def test_attempts_are_swept_out_once_a_minute():
    now = [0.0]
    attempts = Attempts(2, 90, lambda: now[0])
    attempts.allow("old")
    now[0] = 50.0
    attempts.allow("new")
    now[0] = 95.0
    attempts.allow("other")  # "old" is over
    assert set(attempts.times) == {"new", "other"}
    now[0] = 150.0
    attempts.allow("late")
    assert set(attempts.times) == {"new", "other", "late"}  # looked at less than a minute ago


def test_attempts_of_several_keys_count_together_or_not_at_all():
    attempts = Attempts(1, 60, lambda: 0.0)
    assert attempts.allow_all({"address": 2, "pair": 1})
    assert not attempts.allow_all({"address": 2, "pair": 1})
    assert attempts.allow_all({"address": 2, "other pair": 1})
    assert not attempts.allow_all({"address": 2, "third pair": 1})
    assert "third pair" not in attempts.times
    attempts.take_back("address")
    assert attempts.allow_all({"address": 2, "third pair": 1})
    attempts.take_back("nobody")


def test_attempts_are_forgotten_after_their_time_and_after_success():
    now = [0.0]
    attempts = Attempts(2, 60, lambda: now[0])
    assert [attempts.allow("a") for _ in range(3)] == [True, True, False]
    assert attempts.allow("b")
    now[0] = 60.0
    assert attempts.allow("a")
    attempts.forget("a")
    assert [attempts.allow("a") for _ in range(3)] == [True, True, False]


def test_a_login_ends_after_its_hours_and_after_idleness(browse, store):
    now = datetime.now(UTC)
    for values in ({"expires": now - timedelta(seconds=1)}, {"seen": now - timedelta(minutes=121)}):
        client = browse("ada")
        assert client.get("/").status_code == 200
        change_login(store, **values)
        assert client.get("/").headers["location"] == "/login"


def test_a_page_that_refreshes_itself_keeps_nobody_signed_in(browse, store):
    client, old = browse("ada"), datetime.now(UTC) - timedelta(minutes=100)
    change_login(store, seen=old)
    assert client.get("/lessons/3/panel").status_code == 200
    with store.reading() as session:
        assert session.scalar(select(WebSession.seen)) == old
    client.get("/lessons/3")
    with store.reading() as session:
        assert session.scalar(select(WebSession.seen)) > old
    change_login(store, expires=old)
    assert client.get("/lessons/3/panel").status_code == 401


@pytest.mark.parametrize("token", [None, "", "wrong"])
def test_a_form_without_this_logins_token_changes_nothing(token, browse, store):
    client = browse("root")
    other = csrf(browse("ada").get("/account").text)
    for sent in (token, other):
        form = {"do": "add", "name": "eve", "password": PASSWORD, "role": "admin"} | ({"csrf": sent} if sent else {})
        assert client.post("/users", data=form).status_code == 403
    assert "eve" not in {user.name for user in accounts.users(store)}


def test_a_login_form_from_elsewhere_signs_nobody_in(browse):
    client = browse()
    assert client.post("/login", data={"name": "ada", "password": PASSWORD, "csrf": "x"}).status_code == 403
    stranger = csrf(browse().get("/login").text)
    client.get("/login")
    assert client.post("/login", data={"name": "ada", "password": PASSWORD, "csrf": stranger}).status_code == 403


@pytest.mark.parametrize(
    "elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_after_signing_in_nobody_is_sent_to_another_site(elsewhere, browse):
    assert sign_in(browse(), "ada", next=elsewhere).headers["location"] == "/"
    assert sign_in(browse(), "ada", next="/lessons/1").headers["location"] == "/lessons/1"


def test_every_answer_carries_the_security_headers(browse):
    client = browse("ada")
    paths = (
        "/",
        "/login",
        "/nowhere",
        "/users",
        "/static/app.js",
        "/lessons/1",
        "/lessons/1/segments.csv",
        "/favicon.ico",
    )
    for path in paths:
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in headers


def test_cookies_are_out_of_reach_and_with_tls_locked_to_the_host(browse):
    plain = browse().get("/login").headers["set-cookie"]
    assert all(word in plain for word in ("login=", "HttpOnly", "SameSite=strict", "Path=/"))
    assert "Secure" not in plain


def test_behind_a_proxy_cookies_are_secure_and_browsers_stay_with_tls(browse):
    answer = browse(None, "dashboard.behind_proxy=true").get("/login")
    assert answer.headers["set-cookie"].startswith("__Host-login=")
    assert "Secure" in answer.headers["set-cookie"]
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_other_names_and_large_requests_are_not_answered(browse):
    client = browse()
    assert client.get("/login", headers={"host": "evil.example"}).status_code == 400
    assert client.post("/login", data={"name": "x" * 70_000}).status_code == 413
    assert client.post("/login", content=iter([b"name=ada"])).status_code == 413  # of unknown length


def test_the_first_admin_needs_the_token_of_the_terminal(tmp_path, cheap, settings):
    store = open_store(tmp_path / "new.sqlite")
    app = build(store, settings())
    client = TestClient(app, base_url="http://localhost", follow_redirects=False)
    assert client.get("/").headers["location"] == "/login"
    assert client.get("/login").headers["location"] == "/setup"

    def set_up(token: str, **fields: str) -> Any:
        form = {"csrf": csrf(client.get("/setup").text), "name": "root", "password": PASSWORD, "again": PASSWORD}
        return client.post("/setup", data=form | {"token": token} | fields)

    token = app.state.site.setup_token
    assert set_up("guess").status_code == 401
    assert set_up(token, again="other").status_code == 400
    assert set_up(token, password="short", again="short").status_code == 400
    assert not accounts.users(store)
    assert set_up(token).headers["location"] == "/"
    assert client.get("/users").status_code == 200
    assert [(user.name, user.role) for user in accounts.users(store)] == [("root", "admin")]
    # used up: neither this application nor the next one takes it again
    assert client.get("/setup").headers["location"] == "/login"
    assert build(store, settings()).state.site.setup_token is None
    with pytest.raises(FerLabError, match="exists already"):
        accounts.add_user(store, "eve", PASSWORD, "admin", first=True)


def test_ones_own_password(browse, store):
    client = browse("ada")
    new = "another long password"

    def change(old: str) -> int:
        form = {"csrf": csrf(client.get("/account").text), "old": old, "password": new, "again": new}
        return client.post("/account", data=form).status_code

    assert change("wrong") == 400
    assert change(PASSWORD) == 303
    assert client.get("/").headers["location"] == "/login"  # every login of the account has ended
    assert sign_in(browse(), "ada").status_code == 401
    assert sign_in(browse(), "ada", new).status_code == 303
