"""The pages in a real browser: headless Chromium, driven by Playwright."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fer_lab.dashboard import demo
from fer_lab.dashboard.serve import listening, server
from fer_lab.live.store import Store

from .conftest import PASSWORD, add_lesson

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

HAPPY, ANGRY = ([0.6, 0.3, 0.1], 0.5, 0.25, 0.75), ([0.1, 0.2, 0.7], -0.5, -0.75, -0.25)

#: Smallest contrast of a text with what lies behind it (WCAG 2.2), and that text.
CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
                             return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map(linear);
                         return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (node) => { for (; node; node = node.parentElement) {
                               const c = rgba(getComputedStyle(node).backgroundColor);
                               if (c[3] === 255) return c; }
                             return [255, 255, 255]; };
  let worst = [99, ""];
  for (const node of document.querySelectorAll("body *")) {
    const text = [...node.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join("");
    if (!text || node.closest("svg") || !node.checkVisibility()) continue;
    const [a, b] = [light(rgba(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, text];
  }
  return worst;
}"""


@pytest.fixture
def address(store, settings) -> Iterator[str]:
    """The store, served for real; moments are present for two seconds."""
    chosen = settings("dashboard.port=0", "dashboard.refresh_s=0.2", "dashboard.fresh_s=2")
    with listening(chosen) as bound:
        web, _ = server(store, chosen)
        thread = threading.Thread(target=web.run, args=([bound],))
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        web.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, address) -> Iterator[Callable]:
    """`visit("ada", width=390)`: a page that has signed in by keyboard. A script error or outside request fails."""
    troubles: list[str] = []
    contexts = []

    def make(name: str, width: int = 1280, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 844}, base_url=address, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: troubles.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.on("request", lambda asked: None if asked.url.startswith(address) else troubles.append(asked.url))
        page.goto("/")
        assert "Article 5(1)(f)" in page.inner_text("main")
        page.keyboard.type(name)  # the name has the focus
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url("**/")
        return page

    yield make
    for context in contexts:
        context.close()
    assert troubles == []


class Writer(threading.Thread):
    """Adds a row to the running lesson 3 for each second that passes, as a pipeline does."""

    def __init__(self, store: Store) -> None:
        super().__init__(daemon=True)
        self.store, self.values, self.over = store, HAPPY, threading.Event()

    def run(self) -> None:
        lesson = self.store.lesson(3)
        assert lesson
        done = 39
        while not self.over.wait(0.1):
            for second in range(done + 1, int(time.time() - lesson.started.timestamp())):
                self.store.add_second(3, second, 6.0, 6, *self.values)
                done = second


def test_a_lesson_is_followed_while_it_is_written(visit, store):
    writer = Writer(store)
    writer.start()
    page, expect = visit("ada"), playwright.expect
    page.get_by_role("link", name="Geometry").click()
    now = page.locator("#now")
    expect(now).to_contain_text("+0.50")

    page.get_by_text("Minute by minute").click()
    figure = page.get_by_role("figure", name="LSI over time")
    figure.focus()
    page.keyboard.press("End")
    expect(figure.locator("output")).to_contain_text("LSI +0.50, 95 % band +0.25 to +0.75")
    before = page.locator("#now h2").inner_text()

    writer.values = ANGRY
    expect(now).to_contain_text("−0.50", timeout=10_000)
    assert page.locator("#now h2").inner_text() != before  # at 0:45, then at 0:46
    page.keyboard.press("End")
    expect(figure.locator("output")).to_contain_text("LSI −0.50")
    assert figure.evaluate("node => node === document.activeElement")  # news take no focus away
    assert page.locator("details[open]").count() == 1

    # nobody writes any more: too few faces, and the number is gone
    writer.over.set()
    writer.join()
    expect(now).to_contain_text("too few faces", timeout=15_000)
    assert "−0.50" not in now.inner_text()
    store.end_lesson(3)
    expect(now).to_contain_text("Whole lesson", timeout=10_000)


def test_roles(visit):
    page = visit("rita")
    assert page.get_by_role("link", name="Geometry").count() == 0  # it is running
    page.get_by_role("link", name="Fractions").click()
    assert "+0.50" in page.inner_text("#now")
    assert page.locator("figure").count() == 0
    assert page.locator("header nav a").all_inner_texts() == ["Lessons", "rita researcher"]
    page = visit("ada")
    assert page.get_by_role("link", name="alert").count() == 0  # another class's
    assert "/lessons/2" not in page.content()
    page.evaluate("location = '/account'")
    page.wait_for_url("**/account")
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url("**/login")


def test_a_comparison_and_a_hostile_title(visit):
    page = visit("root")
    for box in page.get_by_role("checkbox").all()[:2]:
        box.check()
    page.get_by_role("button", name="Compare").click()
    assert "<script>alert(1)</script>" in page.inner_text("main")  # as text; a dialog would fail the test
    assert page.locator("path.line").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_width_and_contrast(scheme, visit, store):
    page = visit("root", 390, color_scheme=scheme, has_touch=True, is_mobile=True)
    add_lesson(store, "A very long title without end " + "x" * 60, "7a", -0.5, 40, ended=False)
    for path in ("/", "/lessons/1", "/lessons/3", "/lessons/4", "/compare?lesson=1&lesson=2", "/lessons/1/summary",
                 "/users", "/log", "/account"):  # fmt: skip
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        ratio, text = page.evaluate(CONTRAST)
        assert ratio >= 4.5, (path, text)
        for button in page.locator("button:visible, .button:visible").all():
            assert button.bounding_box()["height"] >= 36, (path, button.inner_text())


def test_colours_can_be_chosen(visit):
    page = visit("ada", color_scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.get_by_role("button", name="Dark or light").click()
    dark = page.evaluate(colour)
    assert dark != light
    page.reload()
    assert page.evaluate(colour) == dark


def test_everything_but_comforts_works_without_scripts(visit):
    page = visit("ada", java_script_enabled=False)
    page.goto("/lessons/1")
    assert "+0.50" in page.inner_text("#now")
    assert page.locator("#lsi path.line").get_attribute("d")
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url("**/login")


def test_the_summary_is_one_page_with_twelve_segments_too(visit, store):
    length, simulated = 45 * 60, demo.Simulated(42, 45 * 60, (0.32, 0.6, 1.3))
    lesson = demo.simulated_lesson(store, "Probability, and what it is good for", "7a", datetime.now(UTC), "ada")
    simulated.add(store, lesson, range(length))
    for number in range(12):
        start, end = number * length / 12, (number + 1) * length / 12
        title = f"Part {number + 1}: a title of some words"
        store.add_segment(lesson, start, end, title, 6.0, [1 / 7] * 7, 0.0, -0.2, 0.2)
    store.end_lesson(lesson, datetime.now(UTC) + timedelta(seconds=length))
    page = visit("ada")
    for number, segments in ((1, 2), (lesson, 12)):
        page.goto(f"/lessons/{number}/summary")
        assert page.locator("tbody tr").count() == segments
        assert page.pdf(format="A4").count(b"/Type /Page\n") == 1
