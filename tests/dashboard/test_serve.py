"""Where it listens, and the commands around it."""

import io
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import pytest

from fer_lab.dashboard import accounts, demo
from fer_lab.dashboard.__main__ import dashboard
from fer_lab.dashboard.serve import dashboard_beside, listening, server
from fer_lab.dashboard.users import main as users
from fer_lab.dashboard.views import elapsed
from fer_lab.errors import FerLabError
from fer_lab.live.store import open_store
from fer_lab.schema import compose

from ..live.conftest import model as model_file  # noqa: F401
from .conftest import PASSWORD, add_lesson, sign_in

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "school.example"])
def test_a_public_bind_needs_tls_or_a_proxy(host, settings, tmp_path):
    with pytest.raises(FerLabError, match="can be reached from other machines"):
        settings(f"dashboard.host='{host}'")
    for hosts in ([], ["dashboard.hosts=['*']"]):
        with pytest.raises(FerLabError, match="lets others pass by the proxy, over plain HTTP"):
            settings(f"dashboard.host='{host}'", "dashboard.behind_proxy=true", *hosts)
    named = settings(f"dashboard.host='{host}'", "dashboard.behind_proxy=true", "dashboard.hosts=[lessons.example]")
    assert named.encrypted
    assert named.allowed_hosts == ["lessons.example"]
    pem = tmp_path / "x.pem"
    pem.touch()
    public = settings(f"dashboard.host='{host}'", f"dashboard.certificate={pem}", f"dashboard.key={pem}")
    assert public.address.startswith("https://")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("attempts=0", r"dashboard\.attempts=0 must be a whole number from 1 to 1000"),
        ("attempts=2.5", r"dashboard\.attempts=2\.5 must be a whole number"),
        ("attempts_minutes=0", r"dashboard\.attempts_minutes=0 must be a number from 0\.1 to 1440"),
        ("session_hours=-1", r"dashboard\.session_hours=-1 must be a number from 0\.01 to 720"),
        ("session_hours=.nan", r"dashboard\.session_hours=nan must be a number"),
        ("session_hours=long", r"dashboard\.session_hours=long must be a number"),
        ("idle_minutes=0", r"dashboard\.idle_minutes=0 must be"),
        ("least_faces=0", r"dashboard\.least_faces=0 must be a whole number from 1"),
        ("aggregate_s=0", r"dashboard\.aggregate_s=0 must be a whole number from 2"),
        ("fresh_s=0", r"dashboard\.fresh_s=0 must be"),
        ("refresh_s=0", r"dashboard\.refresh_s=0 must be"),
        ("port=70000", r"dashboard\.port=70000 must be"),
        ("warnings.window_s=0", r"dashboard\.warnings\.window_s=0 must be a whole number from 1"),
        ("warnings.drop=0", r"dashboard\.warnings\.drop=0 must be a number"),
        ("warnings.rise=true", r"dashboard\.warnings\.rise=True must be a number"),
    ],
)
def test_values_outside_their_range_are_refused(override, sentence, settings):
    with pytest.raises(FerLabError, match=sentence):
        settings(f"dashboard.{override}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.0.1"])
def test_loopback_needs_nothing(host, settings):
    assert settings(f"dashboard.host='{host}'").loopback
    assert "*" not in settings(f"dashboard.host='{host}'").allowed_hosts


def test_half_a_certificate_is_refused(settings, tmp_path):
    with pytest.raises(FerLabError, match="belong together"):
        settings("dashboard.certificate=x.pem")
    with pytest.raises(FerLabError, match=r"dashboard.certificate=no.pem is no file"):
        settings("dashboard.certificate=no.pem", "dashboard.key=no.pem")


def test_a_taken_port_is_one_sentence(settings):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(FerLabError, match=r"dashboard\.port=<another>, or beside a run 'dashboard=\{port: <another>\}'"),
    ):
        listening(settings(f"dashboard.port={taken.getsockname()[1]}"))


@pytest.mark.parametrize("missing", ["sqlalchemy", "argon2", "python_multipart"])
def test_a_missing_extra_is_one_sentence(missing, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(FerLabError, match=rf"^{missing} is not installed: pip install 'fer_lab\[live\]'"):
        dashboard(compose("dashboard"))
    assert users(["lessons.sqlite", "list"]) == 1
    assert capsys.readouterr().err.startswith(f"fer-lab dashboard.users: {missing} is not installed")


def test_a_store_has_to_be_named():
    with pytest.raises(FerLabError, match="say store="):
        dashboard(compose("dashboard"))


def test_a_lesson_whose_run_was_killed_is_not_live_for_ever(store, settings):
    lost = add_lesson(store, "Lost", "7a", 0.5, 40, ended=False, ago=24 * 3600)
    server(store, settings())
    assert elapsed(store.lesson(lost)) == pytest.approx(40)
    assert store.lesson(3).ended is None


def test_simulated_lessons_say_so_and_mix_with_no_others(store, tmp_path, cheap):
    with pytest.raises(FerLabError, match="holds lessons"):
        demo.fill(store)
    fresh = open_store(tmp_path / "demo.sqlite")
    demo.fill(fresh, minutes=3)
    with demo.running(fresh, minutes=3, since=100) as running:
        assert [lesson.id for lesson in fresh.lessons() if lesson.ended is None] == [running]
    lessons = fresh.lessons()
    assert len(lessons) == 9
    assert all(lesson.title.startswith("Simulated: ") and lesson.ended for lesson in lessons)
    assert all(row.faces >= 5 and -1 <= row.lsi_low <= row.lsi <= row.lsi_high <= 1 for row in fresh.seconds(1))
    assert len(fresh.segments(1)) == 6
    assert set(demo.people(fresh)) == set(accounts.ROLES)


def test_accounts_from_the_terminal(store, tmp_path, monkeypatch, capsys):
    path = str(tmp_path / "lessons.sqlite")

    def run(*words: str, typed: str = "") -> int:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        return users([path, *words])

    assert run("add", "grace", "--role", "teacher", "--class", "8b", "--class", "7a", typed=f"{PASSWORD}\n") == 0
    assert accounts.password_fits(store, "grace", PASSWORD)
    assert run("change", "grace", "--role", "researcher") == 0
    assert run("password", "grace", typed="a different password\n") == 0
    assert accounts.password_fits(store, "grace", "a different password")
    assert run("list") == 0
    assert "grace\tresearcher\t7a, 8b" in capsys.readouterr().out
    assert run("remove", "grace") == 0
    assert run("remove", "grace") == 1
    assert run("add", "eve", "--role", "admin", typed="short\n") == 1
    assert capsys.readouterr().err.count("\n") == 2
    assert accounts.noted(store)[0].action == "remove user grace"
    assert users([str(tmp_path / "nowhere.sqlite"), "list"]) == 1
    assert not (tmp_path / "nowhere.sqlite").exists()


@pytest.mark.slow
def test_the_command_serves_and_ends(tmp_path):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "fer_lab.dashboard", f"store={tmp_path / 'new.sqlite'}", f"dashboard.port={port}"],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )  # fmt: skip
    try:
        assert process.stdout
        said = ""
        while "token" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/login") as answer:
            assert "The first account" in answer.read().decode()
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=30)
    token = said.split()[-1]
    assert "Article 5(1)(f)" in said
    assert token not in rest


@pytest.mark.slow
def test_beside_a_lesson(tmp_path, capsys):
    path = str(tmp_path / "lessons.sqlite")
    open_store(path).close()
    port = {"port": free_port()}
    with dashboard_beside(path, port):
        address = capsys.readouterr().out.split()[1]
        with urllib.request.urlopen(f"{address}/login") as answer:
            assert answer.status == 200
        with pytest.raises(FerLabError, match=r"dashboard\.port="), dashboard_beside(path, port):
            pass
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{address}/login")


@pytest.mark.slow
def test_a_lesson_is_on_the_pages_while_it_runs(model_file, tmp_path, cheap):  # noqa: F811
    path, port = tmp_path / "lessons.sqlite", free_port()
    accounts.add_user(open_store(path), "root", PASSWORD, "admin")
    words = ["source=synthetic", "live.synthetic.seconds=6", "live.realtime=true", f"model={model_file}",
             "live.purpose=demonstration", "live.consent=acknowledged", f"live.store={path}",
             "live.lesson.title=Seen", "live.lesson.class_name=7a", f"dashboard={{port: {port}}}"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "fer_lab.live", *words], cwd=tmp_path, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    seen = ""
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            while process.poll() is None and "95 % band" not in seen:
                with suppress(httpx.TransportError):  # it does not listen yet
                    if not client.cookies:
                        sign_in(client, "root")
                    seen = client.get("/lessons/1").text.partition('id="now"')[2].partition("</section>")[0]
                time.sleep(0.2)
    finally:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "95 % band" in seen
    assert "Now" in seen
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/login")
