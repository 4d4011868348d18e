"""What conf/dashboard.yaml sets."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fer_lab.errors import FerLabError

#: Settings that are numbers: name, type, least and most.
_RANGES: tuple[tuple[str, type, float, float], ...] = (
    ("port", int, 0, 65_535),
    ("session_hours", float, 0.01, 720),
    ("idle_minutes", float, 0.1, 43_200),
    ("attempts", int, 1, 1000),
    ("attempts_minutes", float, 0.1, 1440),
    ("fresh_s", int, 1, 86_400),
    ("refresh_s", float, 0.1, 3600),
    ("aggregate_s", int, 2, 86_400),
    ("least_faces", int, 1, 1000),
)


def _check(key: str, value: object, kind: type, least: float, most: float) -> None:
    fits = isinstance(value, (int, kind)) and not isinstance(value, bool)
    if not (fits and least <= value <= most):  # type: ignore[operator]
        what = "a whole number" if kind is int else "a number"
        raise FerLabError(f"dashboard.{key}={value} must be {what} from {least:g} to {most:g}.")


@dataclass(frozen=True)
class Rules:
    """Parameters of the early warnings (:mod:`fer_lab.dashboard.warning_rules`); times in seconds.

    drop: of the LSI, in its units; rise: of the negative share, in [0, 1]; negative: names of classes, None for those
    with a negative weight.
    """

    window_s: int
    baseline_s: int
    hold_s: int
    drop: float
    rise: float
    negative: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for key in ("window_s", "baseline_s", "hold_s"):
            _check(f"warnings.{key}", getattr(self, key), int, 1, 86_400)
        _check("warnings.drop", self.drop, float, 0.001, 2)
        _check("warnings.rise", self.rise, float, 0.001, 1)


@dataclass(frozen=True)
class Settings:
    """As commented in conf/dashboard.yaml."""

    host: str
    port: int
    certificate: str | None
    key: str | None
    behind_proxy: bool
    hosts: tuple[str, ...] | None
    session_hours: float
    idle_minutes: float
    attempts: int
    attempts_minutes: float
    fresh_s: int
    refresh_s: float
    aggregate_s: int
    least_faces: int
    warnings: Rules

    def __post_init__(self) -> None:
        for key, kind, least, most in _RANGES:
            _check(key, getattr(self, key), kind, least, most)
        if bool(self.certificate) != bool(self.key):
            raise FerLabError("dashboard.certificate and dashboard.key belong together: give both files, or neither.")
        for name in ("certificate", "key"):
            if (file := getattr(self, name)) and not Path(file).is_file():
                raise FerLabError(f"dashboard.{name}={file} is no file: give a PEM file.")
        if not (self.loopback or self.encrypted):
            raise FerLabError(
                f"dashboard.host={self.host} can be reached from other machines, and passwords would travel readable: "
                "give dashboard.certificate and dashboard.key, or dashboard.behind_proxy=true where a proxy speaks TLS."
            )
        named = self.hosts and "*" not in self.hosts
        if self.behind_proxy and not (self.loopback or self.certificate or named):
            raise FerLabError(
                f"dashboard.host={self.host} lets others pass by the proxy, over plain HTTP: say "
                "dashboard.host=127.0.0.1, or dashboard.hosts=[<the name that browsers use>] for a proxy elsewhere."
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def encrypted(self) -> bool:
        """Whether browsers see TLS, ours or a proxy's."""
        return bool(self.certificate) or self.behind_proxy

    @property
    def allowed_hosts(self) -> list[str]:
        """Values of the Host header that are answered: no other site's name may point here (DNS rebinding)."""
        if self.hosts:
            return list(self.hosts)
        return (
            ["localhost", "127.0.0.1", "::1", "[::1]", self.host] if self.loopback and not self.behind_proxy else ["*"]
        )

    @property
    def address(self) -> str:
        """What to type into a browser on this machine."""
        name = "localhost" if self.host in ("0.0.0.0", "::") else self.host
        host = f"[{name}]" if ":" in name else name
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}"


def read_settings(node: DictConfig) -> Settings:
    """The node `dashboard` of a composed config.

    Raises:
        FerLabError: a value does not fit, or the bind is public without TLS.
    """
    plain: dict = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    rules = plain.pop("warnings")
    negative = rules.pop("negative")
    hosts = plain.pop("hosts")
    return Settings(
        **plain,
        hosts=tuple(hosts) if hosts else None,
        warnings=Rules(**rules, negative=tuple(negative) if negative else None),
    )
