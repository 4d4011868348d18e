"""Lessons: the list, one lesson, several beside each other, a summary to print, files to take along."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.responses import Response

from fer_lab.dashboard import export, views
from fer_lab.dashboard.app import WATCHERS, Visit, route
from fer_lab.dashboard.charts import TimeChart, clock, lesson_chart, mix_bar, overlay
from fer_lab.dashboard.warning_rules import Warned, warned
from fer_lab.live.store_tables import Lesson

_MOST_COMPARED = 6
_MOST_SEEN = 10_000  # lessons opened that are remembered; then some are noted again


class LessonId(Convertor[int]):
    """A number that may be a lesson's. Python refuses to read those of thousands of digits."""

    regex = "[0-9]{1,10}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("lesson", LessonId())


@dataclass(frozen=True)
class Shown:
    """One lesson as its reader may see it. chart, warnings, latest: None or empty for researchers."""

    lesson: Lesson
    length: float
    mean: views.Mean | None
    mix: list[tuple[str, str, float, float]]
    segments: list[views.Part]
    bars: list[list[tuple[str, str, float, float]]]
    chart: TimeChart | None
    warnings: list[Warned]
    values: views.Series

    @property
    def latest(self) -> int:
        """Index of the last stored second."""
        return len(self.values.second) - 1


def _wanted(visit: Visit, lesson_id: int) -> Lesson:
    """A lesson that the visitor may see; a refusal looks like a lesson that is not there, and is in the log."""
    found = views.lesson(visit.site.store, visit.who, lesson_id)
    if found is None:
        visit.note("refused or missing lesson", lesson_id if lesson_id < 2**31 else None)
        raise HTTPException(404)
    return found


def _shown(visit: Visit, lesson: Lesson) -> Shown:
    site, names, weights = visit.site, lesson.class_names, lesson.weights
    values = views.series(site.store, lesson, site.limits)
    mean = views.mean(values, visit.who, site.limits)
    segments = views.segments(site.store, lesson, visit.who, values, site.limits)
    length = views.elapsed(lesson) if lesson.ended else float(len(values.every_second(values.lsi)))
    warnings, chart = [], None
    if views.sees_seconds(visit.who):
        by_second = values.every_second(values.lsi), values.every_second(values.probabilities)
        warnings = warned(*by_second, names, weights, site.settings.warnings)
        chart = lesson_chart(values, length, names, weights, segments, warnings)
    bars = [mix_bar(part.mean.probabilities, names, weights) for part in segments]
    mix = mix_bar(mean.probabilities, names, weights) if mean else []
    return Shown(lesson, length, mean, mix, segments, bars, chart, warnings, values)


def lessons_page(visit: Visit) -> Response:
    everything = views.lessons(visit.site.store, visit.who)
    classes = sorted({lesson.class_name for lesson in everything})
    asked = visit.request.query_params.get("class", "")
    chosen = asked if asked in classes else ""
    shown = [lesson for lesson in everything if not chosen or lesson.class_name == chosen]
    means = views.means(visit.site.store, shown, visit.who, visit.site.limits)
    visit.note(f"list of lessons{f' of {chosen}' if chosen else ''}")
    return visit.page(
        "lessons.html.j2", lessons=shown, means=means, classes=classes, chosen=chosen, elapsed=views.elapsed
    )


def lesson_page(visit: Visit) -> Response:
    lesson = _wanted(visit, visit.request.path_params["id"])
    _note_seen(visit, lesson)
    return visit.page("lesson.html.j2", **_parts(visit, lesson))


def _note_seen(visit: Visit, lesson: Lesson) -> None:
    visit.note("watched live" if lesson.ended is None else "saw lesson", lesson.id)
    if len(visit.site.seen) >= _MOST_SEEN:
        visit.site.seen.clear()
    visit.site.seen.add((visit.who.csrf, lesson.id))


def panel(visit: Visit) -> Response:
    """The changing parts of a running lesson's page; 204 where they are as the page has them already.

    It is asked for every second, so it is in the log only where the same login has not opened the lesson's page before.
    """
    lesson = _wanted(visit, visit.request.path_params["id"])
    if (visit.who.csrf, lesson.id) not in visit.site.seen:
        _note_seen(visit, lesson)
    version = views.version(visit.site.store, lesson, visit.site.newest)
    if visit.request.query_params.get("version") == version:
        return Response(status_code=204)
    response = visit.page("lesson_parts.html.j2", **_parts(visit, lesson))
    response.headers["X-Version"] = version
    if lesson.ended:
        response.headers["X-Ended"] = "1"
    return response


def _parts(visit: Visit, lesson: Lesson) -> dict:
    shown = _shown(visit, lesson)
    last = int(shown.values.second[-1]) if len(shown.values.second) else None
    least = visit.site.limits.faces(lesson)
    return {"shown": shown, "least": least, "fresh": visit.site.newest.fresh(lesson, last), "minutes": _minutes(shown)}


def _minutes(shown: Shown) -> list[tuple[str, float, float, float, float]]:
    """The lesson's chart in numbers, a row a minute: time, faces, LSI, low, high."""
    values = shown.values
    rows: list[tuple[str, float, float, float, float]] = []
    if shown.chart is None:
        return []
    for minute in sorted(set((values.second // 60).tolist())):
        own = values.second // 60 == minute
        faces, lsi, low, high = (float(v[own].mean()) for v in (values.faces, values.lsi, values.low, values.high))
        rows.append((clock(60 * minute), faces, lsi, low, high))
    return rows


def summary_page(visit: Visit) -> Response:
    lesson = _wanted(visit, visit.request.path_params["id"])
    visit.note("summary", lesson.id)
    return visit.page("summary.html.j2", **_parts(visit, lesson))


def compare_page(visit: Visit) -> Response:
    picked = dict.fromkeys(visit.request.query_params.getlist("lesson"))
    ids = [int(text) for text in picked if text.isdecimal() and len(text) < 10][:_MOST_COMPARED]
    shown = [_shown(visit, _wanted(visit, lesson_id)) for lesson_id in ids]
    for one in shown:
        visit.note("compared", one.lesson.id)
    chart = overlay([one.values for one in shown]) if shown and views.sees_seconds(visit.who) else None
    scales, models = len({one.lesson.scale for one in shown}), len({one.lesson.model_key for one in shown})
    return visit.page("compare.html.j2", shown=shown, chart=chart, most=_MOST_COMPARED, scales=scales, models=models)


def _csv(visit: Visit, name: str, rows: Sequence[Sequence[object]]) -> Response:
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(export.as_csv(rows), media_type="text/csv; charset=utf-8", headers=disposition)


def seconds_csv(visit: Visit) -> Response:
    lesson = _wanted(visit, visit.request.path_params["id"])
    visit.note("exported seconds", lesson.id)
    return _csv(visit, f"lesson_{lesson.id}_seconds.csv", export.seconds(lesson, _shown(visit, lesson).values))


def segments_csv(visit: Visit) -> Response:
    lesson = _wanted(visit, visit.request.path_params["id"])
    visit.note("exported segments", lesson.id)
    return _csv(visit, f"lesson_{lesson.id}_segments.csv", export.segments(lesson, _shown(visit, lesson).segments))


def lessons_csv(visit: Visit) -> Response:
    visit.note("exported list of lessons")
    found = views.lessons(visit.site.store, visit.who)
    means = views.means(visit.site.store, found, visit.who, visit.site.limits)
    return _csv(visit, "lessons.csv", export.lessons(found, means, teachers=views.sees_seconds(visit.who)))


ROUTES = [
    route("/", lessons_page),
    route("/lessons.csv", lessons_csv),
    route("/compare", compare_page),
    route("/lessons/{id:lesson}", lesson_page),
    route("/lessons/{id:lesson}/panel", panel, WATCHERS),
    route("/lessons/{id:lesson}/summary", summary_page),
    route("/lessons/{id:lesson}/seconds.csv", seconds_csv, WATCHERS),
    route("/lessons/{id:lesson}/segments.csv", segments_csv),
]
