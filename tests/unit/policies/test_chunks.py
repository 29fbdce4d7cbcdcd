"""Chunks outside a policy: which frame each action is for, queues, threads, and temporal ensembling."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from helpers.runs import refusal
from helpers.worlds import demonstrate
from shortcut_models.base import Cond, Network
from shortcut_models.data.demonstrations import native
from shortcut_models.models.model import Model
from shortcut_models.objectives import BehaviourCloning
from shortcut_models.policies.chunk import Chunk, Planned, average
from shortcut_models.policies.policy import Policy
from shortcut_models.tasks import Imitation

HISTORY, CHUNK, EXECUTE = 2, 6, 3
FRAMES = 24


class Oracle(Network):
    """Predicts the closed form of `truth` from the two numbers that it sees, and counts its calls."""

    def __init__(self, task: Imitation) -> None:
        super().__init__()
        self.task, self.calls = task, 0
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def encode(self, cond: Cond, drop: Any = None) -> Tensor:
        return cond["state"]

    def forward(self, x: Any, t: Any, d: Any, context: Any = None) -> Any:
        self.calls += 1
        centre, scale = torch.tensor(self.task.centres[0]), torch.tensor(self.task.scales[0])
        before, now = (context * scale.repeat(HISTORY) + centre.repeat(HISTORY)).unbind(1)
        return self.task.encode(torch.stack([_chunk(b, n) for b, n in zip(before, now, strict=True)]))


def _chunk(before: Tensor, now: Tensor) -> Tensor:
    """Action k is now + k * (now - before) / 10, and k."""
    k = torch.arange(CHUNK)
    return torch.stack([now + k * (now - before) / 10, k.float()], 1)


def seen(frame: int, shift: float = 0.0) -> dict[str, np.ndarray]:
    return {"state": np.array([frame**2 / 8 + shift], np.float32)}


def truth(decided_at: int, shift: float = 0.0) -> np.ndarray:
    """Return the chunk of a decision in a frame, float64: the first observation also stands for those before it."""
    now, before = (max(frame, 0) ** 2 / 8 + shift for frame in (decided_at, decided_at - 1))
    k = np.arange(CHUNK)
    return np.stack([now + k * (now - before) / 10, k], 1)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Imitation:
    """Return a task with bounds that no chunk reaches."""
    folder = tmp_path_factory.mktemp("demos")
    native.prepare_folder(folder, "", {})
    for seed in range(2):
        states = np.linspace(-100, 100, 20)[:, None]
        native.write_episode(folder, seed, {"state": states}, np.repeat(states, 2, 1), 0.0)
    return Imitation(str(folder), history=HISTORY, chunk=CHUNK, execute=EXECUTE).resolve()


@pytest.fixture
def policy(task: Imitation) -> Policy:
    return Policy(Model(Oracle(task), BehaviourCloning(), task))


def assert_close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)


def test_action_k_is_for_the_kth_frame_after_the_observation(policy: Policy) -> None:
    policy.reset()
    for frame in range(5):
        chunk = policy.predict(seen(frame))
        assert (chunk.decided_at, policy.frame, chunk.age(policy.frame)) == (frame, frame, 0)
        assert (chunk.actions.shape, chunk.actions.dtype) == ((CHUNK, 2), np.float32)
        assert_close(chunk.actions, truth(frame))
    policy.observe(seen(5))
    assert chunk.age(policy.frame) == 1
    for k in range(CHUNK):
        assert np.array_equal(chunk.action(4 + k), chunk.actions[k])


def test_a_queue_of_predicted_actions_acts_as_the_policy_does(policy: Policy) -> None:
    policy.reset()
    acted = [policy.act(seen(frame)) for frame in range(FRAMES)]
    policy.reset()
    queue: deque[np.ndarray] = deque()
    for frame in range(FRAMES):
        policy.observe(seen(frame))
        if not queue:
            queue.extend(policy.predict().actions[:EXECUTE])
        assert np.array_equal(queue.popleft(), acted[frame])


def test_the_planned_actions_stay_with_their_frames(policy: Policy) -> None:
    """Whichever method is called in the frames between."""
    policy.reset()
    policy.act(seen(0))
    assert_close(policy.predict(seen(1)).actions, truth(1))
    assert_close(policy.act(seen(2)), truth(0)[2])
    assert not policy.decided
    policy.observe(seen(3))
    assert_close(policy.act(seen(4)), truth(4)[0])
    assert policy.decided


def test_several_environments_have_frames_of_their_own(policy: Policy) -> None:
    policy.reset(2)
    both = lambda left, right: {"state": np.stack([left["state"], right["state"]])}
    policy.observe(both(seen(0), seen(0, 5.0)))
    policy.observe(both(seen(1), seen(1, 5.0)))
    policy.restart(1, seed=0)
    chunk = policy.predict(both(seen(2), seen(0, 5.0)))
    assert np.array_equal(chunk.decided_at, [2, 0])
    assert_close(chunk.actions, np.stack([truth(2), truth(0, 5.0)]))
    policy.observe(both(seen(3), seen(1, 5.0)))
    assert np.array_equal(policy.frame, [3, 1])
    assert np.array_equal(chunk.age(policy.frame), [1, 1])
    assert_close(chunk.action(policy.frame), np.stack([truth(2)[1], truth(0, 5.0)[1]]))
    assert np.array_equal(chunk.action(np.array([7, 0])), np.stack([chunk.actions[0, 5], chunk.actions[1, 0]]))


def test_a_thread_decides_on_what_it_has_seen_when_it_began(task: Imitation) -> None:
    """While other frames are observed; the age says which actions are past."""
    begun, finish = threading.Event(), threading.Event()

    class Slow(Oracle):
        def forward(self, *inputs: Any, **context: Any) -> Any:
            begun.set()
            assert finish.wait(60)
            return super().forward(*inputs, **context)

    policy = Policy(Model(Slow(task), BehaviourCloning(), task))
    policy.observe(seen(0))
    policy.observe(seen(1))
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(policy.predict)
        assert begun.wait(60)
        policy.observe(seen(2))
        policy.observe(seen(3))
        finish.set()
        chunk = future.result()
    assert (chunk.decided_at, chunk.age(policy.frame)) == (1, 2)
    assert_close(chunk.actions[2:], truth(1)[2:])


@pytest.mark.parametrize("decay", [0.0, 0.01, 0.7, -0.3, 400.0])
def test_temporal_ensembling_is_that_of_act(task: Imitation, decay: float) -> None:
    """Zhao et al. 2023, algorithm 2, with its buffers B and its weights, as a direct loop."""
    policy = Policy(Model(Oracle(task), BehaviourCloning(), task), ensemble=decay)
    buffers: list[list[np.ndarray]] = [[] for _ in range(FRAMES + CHUNK)]
    for frame in range(FRAMES):
        for k, action in enumerate(truth(frame)):
            buffers[frame + k].append(action)
        weights = [np.exp(-decay * i) for i in range(len(buffers[frame]))]
        wanted = sum(w * action for w, action in zip(weights, buffers[frame], strict=True)) / sum(weights)
        assert_close(policy.act(seen(frame)), wanted)
        assert policy.decided
    assert policy.model.network.calls == FRAMES
    assert policy.copy().ensemble == decay


def test_an_ensemble_of_one_is_the_action_itself_bit_for_bit() -> None:
    action = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    assert np.array_equal(average([Planned(4, action)], 6, 0.3), action[2])


def test_an_ensemble_leaves_out_frames_that_were_not_decided_in(task: Imitation) -> None:
    policy = Policy(Model(Oracle(task), BehaviourCloning(), task), ensemble=0.5)
    policy.act(seen(0))
    for frame in range(1, CHUNK):
        policy.observe(seen(frame))
    assert_close(policy.act(seen(CHUNK)), truth(CHUNK)[0])  # the chunk of frame 0 has ended
    assert_close(
        policy.act(seen(CHUNK + 1)), (truth(CHUNK)[1] + np.exp(-0.5) * truth(CHUNK + 1)[0]) / (1 + np.exp(-0.5))
    )


def test_nothing_is_remembered_of_a_prediction_that_fails(policy: Policy) -> None:
    policy.observe(seen(0))
    with refusal("state is float64"):
        policy.predict({"state": np.zeros(3)})
    with refusal("steps|passes"):
        policy.predict(seen(1), 999)
    assert policy.frame == 0
    assert_close(policy.predict(seen(1)).actions, truth(1))


CHUNKS = Chunk(np.zeros((CHUNK, 2), np.float32), 10)


@pytest.mark.parametrize(
    ("call", "line"),
    {
        "nothing seen": (lambda p: p.predict(), "the policy has not seen anything since `reset`: pass an observation"),
        "steps": (lambda p: p.predict(seen(0), 0), "steps must be"),
        "guidance": (lambda p: p.predict(seen(0), guidance=-1.0), "guidance must be a number of at least 0"),
        "name": (lambda p: p.observe({"image": np.zeros(1)}), "the policy needs state, which is not among image"),
        "shape": (
            lambda p: p.observe({"state": np.zeros(3)}),
            "state is float32 .2, 3. for each, and must be as in the dem",
        ),
        "too old": (lambda p: CHUNKS.action(16), "the chunk is 6 frames old, and has 6 actions: predict another one"),
        "another episode": (lambda p: CHUNKS.action(3), "decided 7 frames later than the frame: use one of the same"),
        "ensemble": (lambda p: Policy(p.model, ensemble=float("nan")), "ensemble must be None or a finite number"),
        "text": (lambda p: Policy(p.model, ensemble="0.01"), "ensemble must be None or a finite number"),
        "both": (lambda p: Policy(p.model, 3, ensemble=0.01), "leave execute out, which is 3"),
    }.values(),
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_wrong_calls_are_refused(policy: Policy, call: Callable[[Policy], object], line: str) -> None:
    with refusal(line.replace("`", ".")):
        call(policy)


def walker_policy(folder: Path) -> Policy:
    """Return a policy that says what it sees."""
    demonstrate(folder)
    task = Imitation(str(folder), history=HISTORY, chunk=CHUNK, execute=EXECUTE).resolve()
    network = Oracle(task)
    network.forward = lambda x, t, d, context=None: x * 0 + 1.0  # type: ignore[method-assign]
    return Policy(Model(network, BehaviourCloning(), task))


def test_a_picture_of_chunks_shows_what_was_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shortcut_models.policies import chunk_picture

    policy = walker_policy(tmp_path / "demos")
    drawn: list[Any] = []
    real = chunk_picture.plot_predictions
    monkeypatch.setattr(chunk_picture, "plot_predictions", lambda *a: drawn.append(a) or real(*a))
    policy.observe({"state": np.zeros(1, np.float32)})
    picture = policy.draw_chunks()
    assert isinstance(picture, Image.Image)
    assert policy.frame == 0
    shown, begins, predicted, *_ = drawn[0]
    found = policy.task._demonstrations
    (held_out,) = policy.task.split(found)[1]
    assert np.array_equal(shown, found.actions[found.begins[held_out] : found.ends[held_out]])
    assert list(begins) == list(range(0, len(shown), EXECUTE))
    assert predicted[1].shape == (len(begins), CHUNK, 1)
    assert (predicted[1] == np.float32(policy.task.action_high)).all()
    policy.draw_chunks(tmp_path / "demos", episode=4)
    assert np.array_equal(drawn[1][0], found.actions[found.begins[4] : found.ends[4]])
    policy.draw_chunks(str(tmp_path / "demos"))
    assert np.array_equal(drawn[2][0], found.actions[: found.ends[0]])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"episode": 5}, "episode 5 does not exist in .*demos: choose one from 0 to 4"),
        ({"data": "nowhere"}, "nowhere: this does not exist: use"),
        ({"steps": ()}, "steps must be at least one number"),
        ({"steps": (0,)}, "steps must be"),
    ],
)
def test_wrong_pictures_are_refused(tmp_path: Path, options: dict[str, Any], line: str) -> None:
    policy = walker_policy(tmp_path / "demos")
    with refusal(line):
        policy.draw_chunks(**options)


def test_demonstrations_with_other_actions_are_refused(tmp_path: Path) -> None:
    policy = walker_policy(tmp_path / "demos")
    native.prepare_folder(tmp_path / "other", "", {})
    native.write_episode(tmp_path / "other", 0, {"state": np.zeros((9, 1))}, np.zeros((9, 3)), 0.0)
    with refusal("an action in .*other has size 3, and one of the policy 1: use other data"):
        policy.draw_chunks(tmp_path / "other")
