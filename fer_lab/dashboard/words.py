"""How values are written on the pages."""

from collections.abc import Callable
from datetime import datetime

from fer_lab.dashboard.charts import clock, css_name


def signed(value: float) -> str:
    """+0.31 or −0.20, with a real minus; never −0.00."""
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def day(moment: datetime) -> str:
    """22 Nov 2026, 09:15 in the machine's time zone."""
    local = moment.astimezone()
    return f"{local.day} {local:%b %Y, %H:%M}"


def moment(value: datetime) -> str:
    """2026-11-22 09:15:03 in the machine's time zone."""
    return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"


def place(lsi: float) -> str:
    """LSI in [-1, 1] as percent from the left of a scale."""
    return f"{50 + 50 * min(1.0, max(-1.0, lsi)):.2f}%"


def number(value: float) -> str:
    """For SVG attributes: no more digits than are seen."""
    return f"{value:.2f}"


FILTERS: dict[str, Callable] = {
    "signed": signed, "percent": percent, "day": day, "moment": moment, "place": place, "clock": clock,
    "number": number, "css": css_name,
}  # fmt: skip
