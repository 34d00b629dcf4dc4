"""``--set SECTION.KEY=VALUE``: settings of a preset changed at the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from training.trainer.config import SECTIONS, ConfigError, RunConfig, check_setting


def with_changes(config: RunConfig, changes: Sequence[str]) -> RunConfig:
    """The configuration with every ``section.key=value`` in place; a value is TOML, or else text.

    Raises ConfigError naming the change, the value and what is accepted.
    """
    if not changes:
        return config
    data = config.to_dict()
    for change in changes:
        section, key, value = _parts(change)
        try:
            check_setting(section, key, value)
        except ConfigError as problem:
            raise ConfigError(f"--set {change}: {problem}") from None
        data[section][key] = value
        if section == "tasks" and key in ("n_features", "components"):
            del data["model"][key]  # the model's are those of the tasks
    try:
        return RunConfig.from_dict(_given(data))
    except ConfigError as problem:
        raise ConfigError(f"--set {' --set '.join(changes)}: {problem}") from None


def _parts(change: str) -> tuple[str, str, Any]:
    name, equals, text = change.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and key and section in SECTIONS):
        names = ", ".join(SECTIONS)
        raise ConfigError(
            f"--set {change}: SECTION.KEY=VALUE is needed, SECTION one of {names}, as in training.steps=500"
        )
    try:
        return section, key, tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return section, key, text.strip()


def _given(data: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Without the keys that are None, which is what leaving a key out means."""
    return {
        name: {key: value for key, value in section.items() if value is not None}
        for name, section in data.items()
    }
