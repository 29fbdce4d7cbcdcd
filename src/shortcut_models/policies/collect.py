"""Episodes of somebody who drives, kept as demonstrations."""

from __future__ import annotations

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

from ..data.demonstrations import native as own
from ..errors import UserError
from ..randomness import seed_of
from ..system.files import write_json
from ..system.progress import progress
from .environments import SEEDS, Environment, Observation
from .episode import Actor, rehearse
from .experts import Expert

DROPPED = "dropped.json"
"""{seed: return} of the episodes that were driven and not kept"""
PATIENCE = 20
"""episodes in a row that score too little before it is given up"""
MEMORY = 10.0
"""frames after which noise is forgotten to 1/e"""
HELD = (10, 40)
"""frames that a blunder lasts, at least and at most"""
OFTEN = 1000
"""frames, without those of blunders, in which `Settings.blunders` begin, on average"""


@dataclass(frozen=True)
class Settings:
    """What decides which episodes a folder holds. Raises UserError for values out of range."""

    driver: str
    """whose wishes are recorded: expert or human"""
    seed: int = 0
    """of the first episode; each has the next; in [0, 2^31)"""
    noise: float = 0.0
    """added to what is carried out, and not to what is recorded, in [0, 1]: see `Expert.noise`"""
    blunders: float = 0.0
    """that begin in `OFTEN` frames, on average: an action of no sense is held, and not recorded; >= 0, < `OFTEN`"""
    min_return: float | None = None
    """episodes that score less are dropped and counted"""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEEDS:
            raise UserError(f"--seed must be from 0 to {SEEDS - 1}, not {self.seed}")
        if not 0 <= self.noise <= 1:
            raise UserError(f"--noise must be from 0 to 1, not {self.noise}")
        if not 0 <= self.blunders < OFTEN:
            raise UserError(f"--blunders must be at least 0 and less than {OFTEN}, not {self.blunders}")
        if self.blunders and self.driver == "human":
            raise UserError("--blunders are for an expert: leave it out, or --human")
        if self.min_return is not None and not math.isfinite(self.min_return):
            raise UserError(f"--min-return must be a finite number, not {self.min_return}")


@dataclass(frozen=True)
class Pupil:
    """A policy that acts in the expert's place, so that the expert shows what to do where the policy gets to.

    That is DAgger (Ross, Gordon, Bagnell 2011, arXiv 1011.0686), where an expert that can tell takes over from a policy
    that has got too far off, as in HG-DAgger (Kelly et al. 2019, arXiv 1810.02890): it shows the way back, and the
    episode is worth going on with. Each action is what the expert wants in that frame; those after it in a chunk belong
    to frames that the policy led to.
    """

    name: str
    """which one it is, for people; a folder of demonstrations is of one only"""
    policy: Actor
    steps: int = 1
    """passes through its network, for each decision"""

    def act(self, seen: Observation) -> np.ndarray:
        """What it would do now."""
        return self.policy.act(seen, steps=self.steps)


@dataclass(frozen=True)
class Episode:
    """What was seen, what the driver wanted on seeing it, and what that scored."""

    observations: Mapping[str, np.ndarray]
    """[n, ...] by name"""
    actions: Float[np.ndarray, "n k"]
    score: float


def correlated_noise(scale: Float[np.ndarray, "k"], seed: int) -> Iterator[Float[np.ndarray, "k"]]:
    """Gaussian noise of a standard deviation for each dimension, without end, that is forgotten over `MEMORY` frames.

    An Ornstein-Uhlenbeck process that begins at rest, so that an episode begins where it would.
    """
    random, keep = np.random.default_rng(seed), math.exp(-1 / MEMORY)
    state = np.zeros(len(scale))
    while True:
        yield scale * state
        state = keep * state + math.sqrt(1 - keep**2) * random.standard_normal(len(scale))


def blunders(
    expert: Expert, environment: Environment, often: float, seed: int
) -> Iterator[Float[np.ndarray, "k"] | None]:
    """What is done by mistake in each frame, without end; mostly nothing.

    often: one begins `OFTEN` / often frames after the last has ended, on average; 0 for none.
    """
    random = np.random.default_rng([seed, 1])
    while True:
        yield from itertools.repeat(None, int(random.geometric(often / OFTEN)) if often else sys.maxsize)
        yield from itertools.repeat(expert.blunder(environment, random), int(random.integers(*HELD, endpoint=True)))


def drive(
    environment: Environment,
    expert: Expert,
    seed: int,
    noise: float = 0.0,
    pupil: Pupil | None = None,
    often: float = 0.0,
) -> Episode:
    """One episode. What the expert wants is recorded; it, or what the pupil wants, is carried out with noise added.

    noise: in units of `Expert.noise`, 0 for none. often: as of `blunders`.
    """
    seen = environment.reset(seed)
    expert.begin(environment)
    if pupil is not None:
        pupil.policy.reset(seed=seed)
    shaken = correlated_noise(noise * expert.noise(environment), seed_of(seed))
    mistakes = blunders(expert, environment, often, seed_of(seed))
    observations: list[Observation] = []
    actions: list[np.ndarray] = []
    over = False
    with progress(environment.max_frames, "frame", desc=f"seed {seed}", leave=False, disable=None) as bar:
        while not over:
            wanted = expert.act(seen).astype(np.float32)
            observations.append(seen)
            actions.append(wanted)
            chosen = wanted if pupil is None else pupil.act(seen)  # it sees every frame, whoever acts
            chosen = wanted if expert.takes_over() else chosen
            done = np.clip(chosen + next(shaken), environment.low, environment.high) if noise else chosen
            mistake = next(mistakes)
            done = done if mistake is None else mistake
            seen, over = environment.step(done.astype(np.float32))
            bar.update()
    stacked = {name: np.stack([seen[name] for seen in observations]) for name in environment.observations}
    return Episode(stacked, np.stack(actions), environment.score())


def collect(
    name: str, environment: Environment, expert: Expert, out: Path, episodes: int, settings: Settings,
    say: Callable[[str], None] = print, pupil: Pupil | None = None,
) -> list[float]:  # fmt: skip
    """Fill a folder with demonstrations, or go on where it was stopped -> the scores of all that it holds.

    Args:
        name: the environment's, for `demonstrations.json`.
        out: a folder that is new, empty, or was begun with the same settings.
        episodes: to keep in all, >= 1.
        say: is given a line for each episode.
        pupil: what acts in the expert's place; none: nothing does.

    Raises:
        UserError: a folder that holds something else, a policy that does not know what is seen, and `PATIENCE`
            episodes in a row that score too little.
    """
    if episodes < 1:
        raise UserError(f"--episodes must be >= 1, not {episodes}")
    if pupil is not None:
        rehearse(pupil.policy, environment)
    _begin(out, name, asdict(settings) | {"policy": "" if pupil is None else pupil.name})
    kept, dropped = own.read_scores(out), _read_dropped(out)
    least = -math.inf if settings.min_return is None else settings.min_return
    in_a_row = 0
    for seed in itertools.count(settings.seed):
        if seed not in kept and seed not in dropped:
            if len(kept) >= episodes:
                break
            episode = drive(environment, expert, seed, settings.noise, pupil, settings.blunders)
            if episode.score >= least:
                own.write_episode(out, seed, episode.observations, episode.actions, episode.score)
                kept[seed] = episode.score
            else:
                dropped[seed] = episode.score
                write_json(out / DROPPED, dropped)
        in_a_row = in_a_row + 1 if seed in dropped else 0
        ending = f", dropped: less than {least:g}" if seed in dropped else ""
        say(f"seed {seed}: {environment.measure} {kept.get(seed, dropped.get(seed)):.1f}{ending}")
        if in_a_row == PATIENCE:
            raise UserError(f"{PATIENCE} episodes in a row scored less than {least:g}: ask for less, in another folder")
    if dropped:
        say(f"{len(dropped)} episodes dropped, {len(kept)} kept")
    return list(kept.values())


def _begin(out: Path, name: str, settings: Mapping[str, Any]) -> None:
    """Make the folder, or raise UserError that names the first setting in which what is there differs."""
    own.begin(out, name, settings)
    earlier = {"policy": "", "blunders": 0.0} | own.read_header(out)["expert"]  # once there were none
    if "driver" not in earlier:
        raise UserError(
            f"{out} holds demonstrations that `shortcut collect` has not begun: give another folder with --out"
        )
    for option, value in settings.items():
        before = earlier.get(option)
        if before != value:
            raise UserError(
                f"{out} was begun with {option.replace('_', '-')} {_shown(before)}, not {_shown(value)}: "
                f"use the same options to go on, or give another folder with --out"
            )


def _shown(value: object) -> object:
    return "none" if value in ("", None) else value


def _read_dropped(out: Path) -> dict[int, float]:
    try:
        return {int(seed): float(score) for seed, score in json.loads((out / DROPPED).read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{out / DROPPED} is damaged: remove it, and those episodes are driven again") from None
