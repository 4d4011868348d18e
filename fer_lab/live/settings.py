"""Settings of conf/live that no component checks itself."""

from omegaconf import DictConfig

from fer_lab.errors import FerLabError


def check_settings(live: DictConfig) -> None:
    """Refuse values outside their range, before anything is opened.

    Raises:
        FerLabError: naming the key, the value and what it may be.
    """
    for key, fits, limits in (
        ("threads", live.threads >= 1, "at least 1"),
        ("queue", live.queue >= 1, "at least 1"),
        ("detect_every", live.detect_every is None or live.detect_every >= 1, "null or at least 1"),
        ("reconnect_s", live.reconnect_s >= 0, "at least 0"),
        ("folder_fps", live.folder_fps > 0, "above 0"),
        ("realtime", live.realtime in (None, True, False), "true, false or null"),
        ("hysteresis", 0 <= live.hysteresis < 1, "at least 0 and below 1"),
        ("abstain_below", live.abstain_below is None or 0 <= live.abstain_below <= 1, "null or in [0, 1]"),
        ("abstain_from", live.abstain_from in ("labels", "group"), "labels or group"),
        ("lsi_scale", live.lsi_scale in ("unit", "percent"), "unit or percent"),
    ):
        if not fits:
            raise FerLabError(f"live.{key}={live[key]} must be {limits}.")
