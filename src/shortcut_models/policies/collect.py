"""Collecting demonstrations: episodes in which an expert acts, or corrects a policy."""

import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ..data.demonstrations import native
from ..errors import UserError
from ..randomness import seed_of
from ..system.files import write_json
from ..system.progress import progress
from .environments import SEEDS, Environment
from .episode import Actor, warm_up
from .experts import Expert

DROPPED = "dropped.json"  # {seed: return} of the episodes that were recorded and not kept
MAX_DROPPED_IN_A_ROW = 20  # episodes in a row with too low a score after which `collect` gives up
NOISE_MEMORY = 10.0  # frames over which the noise's autocorrelation falls to 1/e
PERTURBED_FRAMES = (10, 40)  # least and most frames of a perturbation
RATE_FRAMES = 1000  # unperturbed frames in which `Settings.perturbations` start, on average


@dataclass(frozen=True)
class Settings:
    """The settings that determine which episodes a folder holds."""

    driver: str  # whose actions are recorded: expert or human
    seed: int = 0  # of the first episode; each later one has the next; in [0, 2^31)
    noise: float = 0.0  # scale of the noise on executed actions, not on recorded ones, in [0, 1]: see `Expert.noise`
    perturbations: float = 0.0
    """random actions that are held for a while, per RATE_FRAMES frames; they are not recorded; in [0, RATE_FRAMES)"""
    min_return: float | None = None  # episodes that score less are dropped and counted

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEEDS:
            raise UserError(f"--seed must be from 0 to {SEEDS - 1}, not {self.seed}")
        if not 0 <= self.noise <= 1:
            raise UserError(f"--noise must be from 0 to 1, not {self.noise}")
        if not 0 <= self.perturbations < RATE_FRAMES:
            raise UserError(f"--perturbations must be at least 0 and less than {RATE_FRAMES}, not {self.perturbations}")
        if self.perturbations and self.driver == "human":
            raise UserError("--perturbations need an expert: leave out --perturbations or --human")
        if self.min_return is not None and not math.isfinite(self.min_return):
            raise UserError(f"--min-return must be a finite number, not {self.min_return}")


@dataclass(frozen=True)
class Learner:
    """A policy that acts in the expert's place, so that the expert's actions are recorded where the policy gets to.

    This is DAgger (Ross, Gordon, Bagnell 2011, arXiv 1011.0686). An expert that implements `takes_over` acts itself
    where the policy has got too far off, as in HG-DAgger (Kelly et al. 2019, arXiv 1810.02890): it shows the way back,
    and the rest of the episode is worth recording. A recorded action is what the expert wants in that very frame; the
    actions after it in a chunk belong to frames that the policy led to.
    """

    name: str  # identifies the policy for people; a folder of demonstrations is of one only
    policy: Actor
    steps: int = 1  # sampling steps of each decision


@dataclass(frozen=True)
class Demonstration:
    """One recorded episode."""

    observations: Mapping[str, np.ndarray]  # [n, ...] by name
    actions: Float[np.ndarray, "n k"]  # what the expert wanted on each observation
    score: float


def correlated_noise(scale: Float[np.ndarray, "k"], seed: int) -> Iterator[Float[np.ndarray, "k"]]:
    """Yield Gaussian noise, correlated over NOISE_MEMORY frames, with a standard deviation for each dimension.

    It is an Ornstein-Uhlenbeck process that starts at 0, so that an episode starts as it would without noise.
    """
    random, keep = np.random.default_rng(seed), math.exp(-1 / NOISE_MEMORY)
    state = np.zeros(len(scale))
    while True:
        yield scale * state
        state = keep * state + math.sqrt(1 - keep**2) * random.standard_normal(len(scale))


def perturbations(
    expert: Expert, environment: Environment, rate: float, seed: int
) -> Iterator[Float[np.ndarray, "k"] | None]:
    """Yield for each frame the action that replaces the chosen one, or None where nothing does.

    A perturbation starts RATE_FRAMES / rate frames after the last one has ended, on average; none does at rate 0.
    """
    random = np.random.default_rng([seed, 1])
    while True:
        yield from itertools.repeat(None, int(random.geometric(rate / RATE_FRAMES)) if rate else sys.maxsize)
        action = expert.perturbation(environment, random)
        yield from itertools.repeat(action, int(random.integers(*PERTURBED_FRAMES, endpoint=True)))


def record_episode(
    environment: Environment, expert: Expert, seed: int, noise: float = 0.0, learner: Learner | None = None,
    rate: float = 0.0,
) -> Demonstration:  # fmt: skip
    """Play one episode and record the expert's actions.

    Noise is in units of `Expert.noise`, and added to executed actions; `rate` is that of `perturbations`. A learner
    acts in the expert's place.
    """
    observation, _ = environment.reset(seed=seed)
    expert.begin(environment)
    if learner is not None:
        learner.policy.reset(seed=seed)
    noises = correlated_noise(noise * expert.noise(environment), seed_of(seed))
    replacements = perturbations(expert, environment, rate, seed_of(seed))
    space, observations, actions, over = environment.action_space, [], [], False
    with progress(environment.max_episode_steps, "frame", desc=f"seed {seed}", leave=False, disable=None) as bar:
        while not over:
            wanted = expert.act(observation).astype(np.float32)
            observations.append(observation)
            actions.append(wanted)
            # The learner gets every observation, even where the expert takes over.
            chosen = wanted if learner is None else learner.policy.act(observation, steps=learner.steps)
            chosen = wanted if expert.takes_over() else chosen
            executed = np.clip(chosen + next(noises), space.low, space.high) if noise else chosen
            replacement = next(replacements)
            executed = executed if replacement is None else replacement
            observation, _, terminated, truncated, _ = environment.step(executed.astype(np.float32))
            over = terminated or truncated
            bar.update()
    stacked = {name: np.stack([one[name] for one in observations]) for name in environment.observations}
    return Demonstration(stacked, np.stack(actions), environment.metric())


def collect(
    name: str, environment: Environment, expert: Expert, out: Path, episodes: int, settings: Settings,
    say: Callable[[str], None] = print, learner: Learner | None = None,
) -> list[float]:  # fmt: skip
    """Fill a folder with demonstrations, or continue an earlier call of the same settings; return all scores in it.

    `episodes` is the number to keep in all; `say` is called with a line for each. A learner acts in the expert's place.
    """
    if episodes < 1:
        raise UserError(f"--episodes must be >= 1, not {episodes}")
    if learner is not None:
        warm_up(learner.policy, environment)
    _prepare(out, name, asdict(settings) | {"policy": "" if learner is None else learner.name})
    kept, dropped, in_a_row = native.read_scores(out), _read_dropped(out), 0
    least = -math.inf if settings.min_return is None else settings.min_return
    for seed in itertools.count(settings.seed):
        if seed not in kept and seed not in dropped:
            if len(kept) >= episodes:
                break
            made = record_episode(environment, expert, seed, settings.noise, learner, settings.perturbations)
            if made.score >= least:
                native.write_episode(out, seed, made.observations, made.actions, made.score)
                kept[seed] = made.score
            else:
                dropped[seed] = made.score
                write_json(out / DROPPED, dropped)
        in_a_row = in_a_row + 1 if seed in dropped else 0
        ending = f", dropped: less than {least:g}" if seed in dropped else ""
        say(f"seed {seed}: {environment.metric_name} {kept.get(seed, dropped.get(seed)):.1f}{ending}")
        if in_a_row == MAX_DROPPED_IN_A_ROW:
            raise UserError(
                f"{in_a_row} episodes in a row scored less than {least:g}: use a smaller --min-return and another --out"
            )
    if dropped:
        say(f"{len(dropped)} episodes dropped, {len(kept)} kept")
    return list(kept.values())


def _prepare(out: Path, name: str, settings: Mapping[str, Any]) -> None:
    native.prepare_folder(out, name, settings)
    header = native.read_header(out)["expert"]
    # Earlier versions had fewer settings, and called the perturbations blunders.
    earlier = {"policy": "", "perturbations": header.get("blunders", 0.0)} | header
    if "driver" not in earlier:
        raise UserError(f"{out} holds demonstrations that `shortcut collect` did not write: choose another --out")
    for option, value in settings.items():
        before = earlier.get(option)
        if before != value:
            before, now = ("none" if each in ("", None) else each for each in (before, value))
            raise UserError(
                f"{out} was started with {option.replace('_', '-')} {before}, not {now}: "
                f"use the same options to continue, or choose another --out"
            )


def _read_dropped(out: Path) -> dict[int, float]:
    try:
        return {int(seed): float(score) for seed, score in json.loads((out / DROPPED).read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{out / DROPPED} is damaged: remove it, and those episodes are recorded again") from None
