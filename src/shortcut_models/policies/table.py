"""What episodes say of a policy: the table, and all of it as JSON."""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..metrics.catalogue import score
from ..models.parts import describe
from ..text import format_steps, format_table
from .episode import Episode
from .rollout import Arena

SHOWN = 10
"""crashes that are told one by one"""


def middle_half(scores: Sequence[float]) -> np.ndarray:
    """The scores between the quartiles, ascending: of n, without the n // 4 lowest and the n // 4 highest."""
    cut = len(scores) // 4
    return np.sort(np.asarray(scores, dtype=np.float64))[cut : len(scores) - cut]


def summary(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Of the episodes at one number of steps, at least one.

    - mean, deviation: of the scores. One that crashed counts as 0. The deviation is that of these episodes, over n.
    - middle_mean, middle_deviation: the same of `middle_half`.
    - frames_a_second: frames over the seconds that the policy took at all of them; decisions_a_second: decisions over
      the seconds it took at frames where its network ran. None where there are no frames.
    - ..._with_simulator: the same with the environment's own time, which is taken to be alike at all frames.
    - crashed, done, time_limit: how many episodes ended so.
    """
    scores = [0.0 if episode.crashed else episode.score for episode in episodes]
    middle = middle_half(scores)
    frames, decisions = (sum(getattr(one, name) for one in episodes) for name in ("frames", "decisions"))
    policy, deciding, simulator = (
        sum(getattr(one, f"{name}_seconds") for one in episodes) for name in ("policy", "decision", "simulator")
    )
    ended = Counter(one.ended.partition(":")[0] for one in episodes)
    return {
        "episodes": len(episodes),
        "mean": float(np.mean(scores)),
        "deviation": float(np.std(scores)),
        "middle_mean": float(middle.mean()),
        "middle_deviation": float(middle.std()),
        "frames": frames,
        "decisions": decisions,
        "frames_a_second": _rate(frames, policy),
        "decisions_a_second": _rate(decisions, deciding),
        "frames_a_second_with_simulator": _rate(frames, policy + simulator),
        "decisions_a_second_with_simulator": _rate(decisions, deciding + simulator * decisions / max(frames, 1)),
        "done": ended["done"],
        "time_limit": ended["time limit"],
        "crashed": ended["crashed"],
    }


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if count and seconds else None


def result(arena: Arena, steps: Sequence[int], episodes: Sequence[Episode]) -> dict[str, Any]:
    """All that there is to say of episodes, JSON-able: under "steps" a `summary` each, under "episodes" every one."""
    policy = arena.policy
    return {
        "run": str(arena.run),
        "recipe": policy.recipe,
        "step": policy.step,
        "objective": describe(policy.objective)["name"],
        "parameters": sum(parameter.numel() for parameter in policy.network.parameters()),
        "environment": arena.environment,
        "measure": arena.measure,
        "execute": policy.execute,
        "seeds": list(dict.fromkeys(episode.seed for episode in episodes)),
        "date": datetime.date.today().isoformat(),
        "versions": dict(arena.versions),
        "timed_on": dict(Counter(episode.timed_on for episode in episodes)),
        "steps": {str(n): summary([episode for episode in episodes if episode.steps == n]) for n in steps},
        "episodes": [dataclasses.asdict(episode) for episode in episodes],
    }


def table(found: dict[str, Any]) -> str:
    """A `result` as aligned text: what was played, a row a number of steps, and what crashed."""
    heads = ["steps", found["measure"], "middle half", "frames/s", "decisions/s"]
    heads += ["with simulator: frames/s", "decisions/s", "crashed"]
    places = 3 if score(found["measure"]).is_fraction else 1
    lines = [heads, *(_row(steps, row, places) for steps, row in found["steps"].items())]
    return "\n".join([*_about(found), "", format_table(lines), *_crashes(found)])


def _row(steps: str, row: dict[str, Any], places: int) -> list[str]:
    spread = lambda kind: f"{row[f'{kind}mean']:.{places}f} ± {row[f'{kind}deviation']:.{places}f}"
    names = [f"{what}_a_second{more}" for more in ("", "_with_simulator") for what in ("frames", "decisions")]
    rates = ["–" if row[name] is None else f"{row[name]:.1f}" for name in names]
    return [steps, spread(""), spread("middle_"), *rates, str(row["crashed"])]


def _about(found: dict[str, Any]) -> list[str]:
    seeds = found["seeds"]
    return [
        f"{found['run']} ({found['objective']}, training step {found['step']:,}) in {found['environment']}, "
        f"{found['execute']} actions a decision",
        f"{len(seeds):,} episodes a row, seeds {seeds[0]} to {seeds[-1]}; timed on {'; '.join(found['timed_on'])}",
    ]


def _crashes(found: dict[str, Any]) -> list[str]:
    bad = [episode for episode in found["episodes"] if episode["ended"].startswith("crashed")]
    if not bad:
        return []
    lines = [f"  {format_steps(one['steps'])}, seed {one['seed']}: {one['ended'].partition(': ')[2]}" for one in bad]
    count = "1 episode crashed and counts" if len(bad) == 1 else f"{len(bad)} episodes crashed and count"
    return ["", f"{count} as 0:", *lines[:SHOWN], *([f"  and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else [])]
