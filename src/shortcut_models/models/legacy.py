"""Names that files of earlier versions have for what is called otherwise today."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

_FIELDS: dict[str, dict[str, str]] = {
    "task": {"validation_share": "validation_fraction"},
    "objective": {"told": "conditioned_step_size", "bootstrap_share": "bootstrap_fraction"},
    "training": {"steps": "train_steps", "teacher_ema": "target_ema"},
}
_ADDED = {"optimizer": "adamw"}
"""options of the training that earlier files do not have, as these were trained"""
_GONE = frozenset({"tensorboard"})
"""options of the training that are not in a run's configuration any more"""
_ENTRIES = {"source": "teacher", "scheduled": "has_schedule"}
_TASKS = {"events": "imported"}
_LAYERS = {"inlet": "proj_in", "outlet": "proj_out"}
_STATE = {"teacher": "target_net", "source": "teacher", "streak": "bad_steps_in_a_row"}


def is_old(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration was written by version 0.1."""
    return str(config.get("version", "")).startswith("0.1.")


def upgrade_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a run or of a model file with today's names."""
    config = {part: _today(part, entry) for part, entry in config.items()}
    if not is_old(config):
        return config
    found = {_ENTRIES.get(name, name): value for name, value in config.items()}
    for part, renamed in _FIELDS.items():
        # The fields of a part from outside the package are its author's.
        if isinstance(entry := found.get(part), dict) and entry.get("name") is not None:
            found[part] = {renamed.get(name, name): value for name, value in entry.items()}
    task = found.get("task")
    if isinstance(task, dict) and task.get("name") in _TASKS:
        task["name"] = _TASKS[task["name"]]
    return found


def _today(part: str, entry: Any) -> Any:
    """Return a part with the options that were added since, and without those that went, in any version."""
    if part != "training" or not isinstance(entry, dict) or not {"train_steps", "steps"} & set(entry):
        return entry  # how an imported model was trained is not known
    return _ADDED | {name: value for name, value in entry.items() if name not in _GONE}


def renamed_tensor(name: str, config: Mapping[str, Any], *, is_state: bool) -> str:
    """Return today's name of a tensor in a model or state file with this configuration, before its upgrade."""
    if not is_old(config):
        return name
    if is_state:
        first, dot, rest = name.partition(".")
        name = _STATE.get(first, first) + dot + rest
    network = config.get("network")
    if not isinstance(network, dict) or network.get("name") is None:  # the layers of one's own network
        return name
    return ".".join(_LAYERS.get(part, part) for part in name.split("."))


def upgrade(
    tensors: dict[str, Tensor], config: dict[str, Any], *, is_state: bool = False
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the configuration of a model or state file with today's names."""
    found = {renamed_tensor(name, config, is_state=is_state): value for name, value in tensors.items()}
    return found, upgrade_config(config)
