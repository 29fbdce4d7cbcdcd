"""Run directories: what may be resumed, what is refused and left alone, and what a crash may leave behind."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from helpers.runs import tree
from shortcut_models.base import Network, NetworkConfig
from shortcut_models.config import options
from shortcut_models.errors import UserError
from shortcut_models.models.loading import load
from shortcut_models.models.run import FREE_TO_CHANGE, Run
from shortcut_models.networks import DiTConfig, MLPConfig
from shortcut_models.objectives import ConsistencyTraining, FlowMatching, ProgressiveDistillation, Shortcut
from shortcut_models.system.files import write_atomically
from shortcut_models.tasks import Digits, Images, Latents, Toy
from shortcut_models.training.fit import run_config
from shortcut_models.training.options import Training

TRAINING = Training(train_steps=100, accumulate=2, batch_size=32)
OTHER_VALUES: dict[str, Any] = {
    "optimizer": "muon",
    "keep_best": "heldout_loss",
    "device": "cpu",
    "schedule": "constant",
    "precision": "bf16",
    "compile": "on",
    "parallel": "fsdp",
}


class Anything(Network):
    """A network from outside the package."""

    def forward(self, x: Any, t: Any, d: Any, context: Any = None) -> Any:
        return x


def config(
    recipe: str = "digits",
    task: Any = Digits(),  # noqa: B008
    network: Any = MLPConfig(width=8),  # noqa: B008
    objective: Any = Shortcut(),  # noqa: B008
    training: Training = TRAINING,
) -> dict[str, Any]:
    """What `fit` would write for these parts."""
    built = network.build((1, 8, 8), {}) if isinstance(network, NetworkConfig) else network
    return run_config(built, objective, task, training, recipe)


def begin(path: Path, **parts: Any) -> Run:
    run = Run(path)
    with run.hold(config(**parts)):
        run.write_config(config(**parts))
    return run


def test_a_new_run_is_held_and_written(tmp_path: Path) -> None:
    run = begin(tmp_path / "a" / "b")
    assert run.read_config() == config()
    with Run(tmp_path / "a" / "b").hold(config()):
        pass


def test_the_configuration_is_what_json_gives_back() -> None:
    images = Images(data="/x", image_size=8, channels=1, classes=2, class_names=("a", "b"))
    for parts in ({}, {"task": images}, {"network": Anything(), "objective": FlowMatching()}):
        assert json.loads(json.dumps(config(**parts))) == config(**parts)


@pytest.mark.parametrize("name", [option.name for option in options(Training)])
def test_every_option_of_training_either_resumes_or_is_refused_by_name(tmp_path: Path, name: str) -> None:
    run, value = begin(tmp_path), getattr(TRAINING, name)
    if name in OTHER_VALUES:
        other = OTHER_VALUES[name]
    elif isinstance(value, bool):
        other = not value
    else:
        other = value / 2 if isinstance(value, float) and value else value + 1
    if name == "accumulate":
        other = 4
    if name == "batch_size":
        other = 64
    now = config(training=dataclasses.replace(TRAINING, **{name: other}))
    if name in FREE_TO_CHANGE:
        run.check(now)
        return
    with pytest.raises(UserError, match=f"was started with --{name.replace('_', '-')} {value}, not {other}: "):
        run.check(now)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"recipe": "moons", "task": Toy("moons")}, "holds a run of recipe digits: choose another directory"),
        ({"task": Toy("moons")}, "started with --task digits, not toy"),
        ({"network": MLPConfig(width=16)}, "started with --network.width 8, not 16"),
        ({"network": DiTConfig(width=12, heads=2)}, "started with --network mlp, not dit"),
        ({"network": Anything()}, "started with --network mlp, not None"),
        ({"objective": FlowMatching()}, "started with --objective shortcut, not flow"),
        ({"objective": Shortcut(max_steps=64)}, "started with --objective.max-steps 128, not 64"),
    ],
)
def test_other_parts_are_refused(tmp_path: Path, parts: dict[str, Any], message: str) -> None:
    run = begin(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(UserError, match=message), run.hold(config(**parts)):
        raise AssertionError
    assert tree(tmp_path) == before


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("objective", [Shortcut(), ProgressiveDistillation(), ConsistencyTraining()])
def test_another_number_of_steps_is_the_same_run(tmp_path: Path, objective: Any, schedule: Any) -> None:
    """Whether a run can resume with it depends on the steps taken: see `training.saving.new_end`."""
    training = dataclasses.replace(TRAINING, schedule=schedule)
    run = begin(tmp_path, objective=objective, training=training)
    begin(tmp_path, objective=objective, training=dataclasses.replace(training, train_steps=200))
    assert run.read_config()["training"]["train_steps"] == 200


SPELLINGS = ("f/", "./f", "f/.", "g/../f", "f//", "{here}/f", "{here}/link", "link", "~/f")


@pytest.mark.parametrize("spelled", SPELLINGS)
@pytest.mark.parametrize("name", ["data", "vae"])
def test_another_spelling_of_a_path_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, spelled: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("f", "g"):
        (tmp_path / folder).mkdir()
    (tmp_path / "link").symlink_to("f")
    run = begin(tmp_path / "run", task=Latents(**{name: "f"}))
    run.check(config(task=Latents(**{name: spelled.format(here=tmp_path)})))
    with pytest.raises(UserError, match=rf"was started with --task\.{name} f, not g: use the same options"):
        run.check(config(task=Latents(**{name: "g"})))


def test_several_places_and_patterns_are_compared_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for one, other in (("a,b", f"./a,{tmp_path}/b"), ("s/{000..003}.tar", "./s/{000..003}.tar")):
        begin(tmp_path / one[0], task=Images(one)).check(config(task=Images(other)))
    with pytest.raises(UserError, match=r"was started with --task\.data a,b, not b,a"):
        Run(tmp_path / "a").check(config(task=Images("b,a")))


def test_names_on_the_hub_are_no_paths(tmp_path: Path) -> None:
    run = begin(tmp_path, task=Images("hf:a/b"))
    for other in ("hf:./a/b", "a/b", "hf:a/b:c"):
        with pytest.raises(UserError, match=f"was started with --task.data hf:a/b, not {other}"):
            run.check(config(task=Images(other)))


def test_only_what_commands_wrote_into_a_run_is_cleared(tmp_path: Path) -> None:
    run, elsewhere = begin(tmp_path / "run"), tmp_path / "elsewhere"
    for path in (run.checkpoints / "00000004", run.samples, run.path / "mine", elsewhere):
        path.mkdir(parents=True)
    for path in (run.checkpoints / "00000004" / "x", run.metrics, run.path / "notes.txt", elsewhere / "precious"):
        path.touch()
    (run.path / "pairs").symlink_to(elsewhere)
    with run.hold(config(recipe="other"), overwrite=True):
        run.clear()
    assert {path.name for path in run.path.iterdir()} == {".lock", "mine", "notes.txt"}
    assert (elsewhere / "precious").exists()
    begin(run.path, recipe="other")  # a new run can start beside the user's own files


def test_what_is_not_a_run_is_never_overwritten(tmp_path: Path) -> None:
    for name, content in (("notes.txt", ""), ("config.json", "{}"), ("config.json", "not json")):
        folder = tmp_path / f"{name}{len(content)}"
        folder.mkdir()
        (folder / name).write_text(content)
        with pytest.raises(UserError), Run(folder).hold(config(), overwrite=True):
            raise AssertionError
        assert (folder / name).read_text() == content


def test_what_is_no_run_is_left_alone(tmp_path: Path) -> None:
    file, full, below = tmp_path / "file", tmp_path / "full", tmp_path / "file" / "run"
    file.write_text("mine")
    full.mkdir()
    (full / "thesis.tex").write_text("mine too")
    before = tree(tmp_path)
    for path, message in ((file, "is a file"), (full, "is not empty and is not a run directory")):
        with pytest.raises(UserError, match=message), Run(path).hold(config()):
            raise AssertionError
    with pytest.raises(UserError, match="Not a directory: fix this, or choose another"), Run(below).hold(config()):
        raise AssertionError
    assert tree(tmp_path) == before


def test_an_empty_directory_and_one_left_at_the_very_start_will_do(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("")
    (tmp_path / ".config.json.77.tmp").write_text('{"vers')
    run = begin(tmp_path)
    assert run.read_config() == config()
    assert sorted(tree(tmp_path)) == [".lock", "config.json"]


PARTS = {part: {"name": part} for part in ("task", "network", "objective", "training")}
EDITED = [
    json.dumps({"recipe": "r"} | PARTS | edit)
    for edit in (
        {"recipe": []}, {"task": {"name": {}}}, {"network": {"name": 3}}, {"objective": {"name": []}},
        *({"training": {"train_steps": steps}} for steps in (None, "many", [], 0, 1.5)),
    )
]  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b'{"task": 3}', b'"text"', *EDITED])
def test_a_damaged_configuration_is_said_to_be(tmp_path: Path, content: bytes | str) -> None:
    run = begin(tmp_path)
    run.config.write_bytes(content if isinstance(content, bytes) else content.encode())
    for look in (run.read_config, lambda: run.check(config())):
        with pytest.raises(UserError, match=r"config\.json is damaged"):
            look()


def test_a_directory_without_configuration_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run"):
        Run(tmp_path).read_config()


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path: Path) -> None:
    run = begin(tmp_path)
    (run.checkpoints / ".00000010.tmp").mkdir(parents=True)
    (run.checkpoints / ".00000010.tmp" / "model.safetensors").write_text("half")
    (run.checkpoints / "00000005").mkdir()
    (tmp_path / ".metrics.jsonl.7.tmp").write_text("half")
    run.samples.mkdir()
    (run.samples / ".step_00000010.png.7.tmp").write_text("half")
    (tmp_path / ".mine").write_text("not a leftover")
    begin(tmp_path)
    assert sorted(tree(tmp_path)) == [".lock", ".mine", "checkpoints", "checkpoints/00000005", "config.json", "samples"]


def test_only_what_was_logged_up_to_a_step_is_kept(tmp_path: Path) -> None:
    run = Run(tmp_path)
    lines = [{"step": step, "loss": step / 3} for step in range(1, 6)]
    torn = '\n{"step": 6, "lo'
    noise = 'null\n[1]\n{"loss": 2}\n{"step": "x"}\n'
    run.metrics.write_bytes(b"\xff\xfe\n" + noise.encode() + "\n".join(map(json.dumps, lines)).encode() + torn.encode())
    assert run.read_metrics() == lines
    run.forget_after(3)
    assert run.metrics.read_text() == "".join(json.dumps(line) + "\n" for line in lines[:3])
    run.forget_after(0)
    assert run.metrics.read_text() == ""


def test_a_run_without_a_log_has_no_lines(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.forget_after(10)
    assert run.read_metrics() == []
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_file_is_whole_or_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / "new folder" / "file"
    write_atomically(path, b"old")

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, name, full)
        with pytest.raises(OSError, match="No space"):
            write_atomically(path, b"new, and longer")
    assert tree(tmp_path) == {"new folder": None, "new folder/file": b"old"}
    write_atomically(path, b"new, and longer")
    assert tree(tmp_path) == {"new folder": None, "new folder/file": b"new, and longer"}


def test_a_check_does_not_change_the_configurations_it_compares(tmp_path: Path) -> None:
    run, now = begin(tmp_path), config()
    kept = copy.deepcopy(now)
    run.check(now)
    assert now == kept


def test_the_folder_of_a_checkpoint_is_loaded(digits_run: Path) -> None:
    [*_, checkpoint] = sorted((digits_run / "checkpoints").iterdir())
    assert load(checkpoint).step == load(digits_run).step
