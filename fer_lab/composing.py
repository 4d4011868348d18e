"""Hydra's composition, kept for the same choices: it takes .2 s, and the runs of a table differ in single keys."""

import copy
import functools
from collections.abc import Sequence

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict

from fer_lab.cli.completion import conf_dir


def compose_all(command: str, words: Sequence[str]) -> DictConfig:
    """What Hydra makes of a command line, with its `hydra` node; also from inside a Hydra command."""
    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return hydra.compose(command, overrides=list(words), return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = running


@functools.lru_cache(maxsize=256)
def compose_choices(command: str, choices: tuple[str, ...]) -> tuple[DictConfig, DictConfig]:
    """:func:`compose_all`, once a process: the config without its `hydra` node, and that node. Copy before changing."""
    cfg = compose_all(command, choices)
    hydra_cfg = cfg.hydra
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, hydra_cfg


def split(words: Sequence[str]) -> tuple[tuple[str, ...], list[Override]] | None:
    """Choices of groups (`loss=focal`), and single keys with their values (`seed=1`), which Hydra sets after all
    choices in the order they were typed; None where there is anything else, such as additions, deletions or sweeps.

    Raises:
        HydraException: a word cannot be parsed.
    """
    choices, keys = [], []
    for override in OverridesParser.create().parse_overrides(list(words)):
        plain = override.type == OverrideType.CHANGE and override.package is None and not override.is_sweep_override()
        value = override.value() if plain else None
        if not plain or isinstance(value, dict) or override.is_hydra_override():
            return None
        if not (conf_dir() / override.key_or_group).is_dir():
            keys.append(override)
        elif isinstance(value, str):
            choices.append(str(override.input_line))
        else:
            return None
    return tuple(choices), keys


def with_keys(cfg: DictConfig, keys: Sequence[Override]) -> DictConfig:
    """A copy with single keys set as Hydra sets them: existing ones, converted to the types of the root.

    Raises:
        OmegaConfBaseException: there is no such key, or its value has the wrong type.
    """
    cfg = copy.deepcopy(cfg)
    for override in keys:
        OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
    return cfg
