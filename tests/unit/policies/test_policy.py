"""Acting: the observations of a policy, its decisions, and several environments at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import demonstrations as demos
from shortcut_models.data.demonstrations.windows import Windows
from shortcut_models.errors import UserError
from shortcut_models.models.model import Model
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import Shortcut
from shortcut_models.policies.policy import Policy
from shortcut_models.randomness import sample_noise
from shortcut_models.tasks import Imitation

pytestmark = pytest.mark.needs_extra

HISTORY, CHUNK, EXECUTE = 3, 6, 2


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Imitation:
    data = str(demos.make_native(tmp_path_factory.mktemp("demos")))
    return Imitation(data, history=HISTORY, chunk=CHUNK, execute=EXECUTE, observations=("state[:2]",)).resolve()


@pytest.fixture
def policy(task: Imitation) -> Policy:
    torch.manual_seed(0)
    network = MLPConfig(width=16, depth=1).build(task.shape, task.conditions)
    for parameter in network.parameters():  # a new network returns zeros for every observation
        torch.nn.init.normal_(parameter, std=0.3)
    return Policy(Model(network.eval(), Shortcut(label_dropout=0.0), task))


def states(frames: int = 12, first: int = 0) -> list[dict[str, np.ndarray]]:
    return [{"state": state} for state in demos.states()[first : first + frames]]


def episode(policy: Policy, seen: list[dict[str, np.ndarray]], seed: int, steps: int = 2) -> np.ndarray:
    policy.reset(seed=seed)
    return np.stack([policy.act(each, steps) for each in seen])


def test_it_acts_on_the_windows_of_training(policy: Policy) -> None:
    task = policy.task
    windows = Windows(task._demonstrations, HISTORY, CHUNK, CHUNK, [0])  # so that every frame has one
    done = episode(policy, states(len(windows)), seed=5)
    for decision, frame in enumerate(range(0, len(windows), EXECUTE)):
        noise = sample_noise(5, [decision], task.shape)
        chunk = policy.model.sample_from(noise, 2, windows.__getitems__([frame]).cond)[0]
        np.testing.assert_allclose(done[frame : frame + EXECUTE], chunk[: len(done) - frame][:EXECUTE], rtol=1e-6)
    assert done.dtype == np.float32


def test_it_decides_when_its_actions_are_used_up(policy: Policy) -> None:
    policy.reset()
    decided = []
    for seen in states(7):
        policy.act(seen)
        decided.append(policy.decided)
    assert decided == [True, False, True, False, True, False, True]
    eager = Policy(policy.model, execute=1)
    assert all(eager.act(seen) is not None and eager.decided for seen in states(3))


def test_each_of_several_environments_acts_as_a_single_one(policy: Policy) -> None:
    alone = [episode(policy, states(9, first), seed=40 + row) for row, first in enumerate((0, 3, 9))]
    policy.reset(3, seed=40)
    together = []
    for each in zip(*(states(9, first) for first in (0, 3, 9)), strict=True):
        together.append(policy.act({"state": np.stack([seen["state"] for seen in each])}, 2))
    np.testing.assert_allclose(np.stack(together, 1), np.stack(alone), rtol=1e-5, atol=1e-6)


def test_one_of_several_restarts_while_the_others_continue(policy: Policy) -> None:
    first, second = states(9), states(9, 12)
    alone = episode(policy, first, seed=0), episode(policy, second[3:], seed=77)
    policy.reset(2)
    done, decided = [], []
    for frame, (left, right) in enumerate(zip(first, second, strict=True)):
        if frame == 3:
            policy.restart(1, seed=77)
        done.append(policy.act({"state": np.stack([left["state"], right["state"]])}, 2))
        decided.append(policy.decided)
    np.testing.assert_allclose(np.stack(done)[:, 0], alone[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.stack(done)[3:, 1], alone[1], rtol=1e-5, atol=1e-6)
    assert decided == [True, False, *[True] * 6, True]  # from then on, one of them decides in each frame


def test_an_episode_follows_from_its_seed(policy: Policy) -> None:
    runs = [episode(policy, states(), seed) for seed in (3, 3, 4)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])


def test_observations_are_copied_as_an_environment_may_reuse_its_arrays(policy: Policy) -> None:
    expected, buffer = episode(policy, states(), 3), np.empty(3, np.float32)
    for environments in (None, 1):
        policy.reset(environments, seed=3)
        done = []
        for seen in states():
            buffer[:] = seen["state"]
            done.append(policy.act({"state": buffer if environments is None else buffer[None]}, 2))
        assert np.array_equal(np.reshape(done, expected.shape), expected)


def test_nothing_is_remembered_of_a_call_that_fails(policy: Policy) -> None:
    expected = episode(policy, states(), 3)
    policy.reset(seed=np.int64(3))
    done = []
    for seen in states():
        for steps, wrong in ((999, seen), (2, {"state": np.full(3, np.inf)}), (2, {"state": np.zeros((3, 3))})):
            if policy._states[0].seen.frame % EXECUTE == EXECUTE - 1 or steps == 2:
                with pytest.raises(UserError):
                    policy.act(wrong, steps)
        done.append(policy.act(seen, 2))
    assert np.array_equal(np.stack(done), expected)


def test_guidance_needs_label_dropout(policy: Policy) -> None:
    dropped = Policy(replace(policy.model, objective=Shortcut(label_dropout=0.1)))
    assert not np.array_equal(dropped.act(states()[0], guidance=3.0), episode(policy, states(1), 0)[0])
    for guidance, line in ((3.0, "guidance needs a model trained with label-dropout above 0"), (-2.0, "at least 0")):
        with pytest.raises(UserError, match=line):
            policy.act(states()[0], guidance=guidance)


def test_actions_stay_within_the_demonstrated_bounds(policy: Policy) -> None:
    with torch.no_grad():
        policy.model.network.proj_out.bias.fill_(100.0)  # type: ignore[union-attr]
    low, high = policy.task.action_low, policy.task.action_high
    done = episode(policy, states(), 0)
    assert ((done >= np.float32(low)) & (done <= np.float32(high))).all()
    assert np.isin(done, np.float32([*low, *high])).any()


@pytest.mark.parametrize(
    ("act", "line"),
    {
        "no observation": (lambda p: p.act({}), "the policy needs state, which is not among nothing"),
        "another name": (lambda p: p.act({"image": np.zeros(1)}), "the policy needs state, which is not among image"),
        "wrong size": (lambda p: p.act({"state": np.zeros(1)}), "state is float"),
        "nan": (lambda p: p.act({"state": np.full(3, np.nan)}), "state holds a number that is not finite"),
        "steps": (lambda p: p.act(states()[0], 129), "steps must be a whole number from 1 to 128, not 129"),
        "text": (lambda p: p.act({"state": np.array(["a"])}), "state holds <U1, not numbers"),
        "objects": (lambda p: p.act({"state": np.array([None])}), "state holds object, not numbers"),
        "another environment": (lambda p: p.restart(1, 0), "environment must be a whole number from 0 to 0, not 1"),
        "the last environment": (lambda p: p.restart(-1, 0), "environment must be a whole number from 0 to 0, not -1"),
        "half a seed": (lambda p: p.reset(seed=[0.5]), "seed must be a whole number of at least 0, not 0.5"),
        "no environments": (lambda p: p.reset(0), "environments must be None or a whole number of at least 1, not 0"),
        "seeds": (lambda p: p.reset(2, seed=[1]), "there must be a seed for each of 2 environments, not 1"),
        "negative seed": (lambda p: p.reset(seed=-1), "seed must be a whole number of at least 0, not -1"),
        "execute": (lambda p: Policy(p.model, execute=7), "execute must be from 1 to 6, the actions of a chunk, not 7"),
    }.values(),
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_wrong_calls_are_refused(policy: Policy, act: Callable[[Policy], object], line: str) -> None:
    with pytest.raises(UserError) as caught:
        act(policy)
    assert line in str(caught.value)


def test_observations_must_keep_their_form(policy: Policy) -> None:
    policy.reset()
    policy.act(states()[0])
    with pytest.raises(UserError, match=r"state is float32 \[2\], and was float32 \[3\] in the frame before"):
        policy.act({"state": np.zeros(2, np.float32)})
    policy.reset(2)
    with pytest.raises(UserError, match="state must be of 2 environments, as in reset"):
        policy.act(states()[0])


def test_a_policy_loads_from_a_run(policy: Policy, tmp_path: Path) -> None:
    from shortcut_models import Policy, Training, fit, load

    network = MLPConfig(width=8, depth=1).build(policy.task.shape, policy.task.conditions)
    training = Training(train_steps=2, batch_size=4, warmup=0)
    model = fit(network, Shortcut(label_dropout=0.0), policy.task, run=tmp_path / "run", training=training, quiet=True)
    trained, loaded = Policy(model), Policy.load(tmp_path / "run")
    assert type(load(tmp_path / "run")) is type(model) is Model
    assert loaded.execute == EXECUTE
    assert Policy.load(tmp_path / "run", execute=1).execute == 1
    both = [episode(each, states(5), 1) for each in (trained, loaded)]
    assert np.array_equal(*both)
    assert len(list(itertools.chain(loaded.task.seeds))) == 4
