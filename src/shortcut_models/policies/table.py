"""The results of a rollout: as a table, and as JSON."""

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
from .rollout import PolicyRun

MAX_CRASHES = 10  # crashes that are listed one by one


def middle_half(scores: Sequence[float]) -> np.ndarray:
    """Return the scores between the quartiles, ascending: without the n // 4 lowest and the n // 4 highest of n."""
    cut = len(scores) // 4
    return np.sort(np.asarray(scores, dtype=np.float64))[cut : len(scores) - cut]


def summary(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return the statistics of the episodes, at least one, at one number of steps.

    - mean, deviation: of the scores, where a crash counts as the lowest one, and at most as 0. The deviation divides
      by n.
    - middle_mean, middle_deviation: the same of `middle_half`.
    - frames_a_second: frames / seconds of the policy at all frames; decisions_a_second: decisions / seconds of the
      policy at frames where its network ran. None where there are no frames.
    - ..._with_simulator: the same with the environment's time added, which is assumed equal at all frames.
    - crashed, done, time_limit: numbers of episodes that ended so.
    """
    lowest = min((episode.score for episode in episodes if not episode.crashed), default=0.0)
    scores = [min(lowest, 0.0) if episode.crashed else episode.score for episode in episodes]
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


def result(run: PolicyRun, steps: Sequence[int], episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return the results as JSON values: a `summary` for each number of steps, and every episode."""
    policy, model = run.policy, run.policy.model
    return {
        "run": str(run.run),
        "recipe": model.recipe,
        "step": model.step,
        "objective": describe(model.objective)["name"],
        "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        "environment": run.environment,
        "measure": run.metric_name,
        **run.facts,
        "execute": policy.execute,
        "ensemble": policy.ensemble,
        "seeds": list(dict.fromkeys(episode.seed for episode in episodes)),
        "date": datetime.date.today().isoformat(),
        "versions": dict(run.versions),
        "timed_on": dict(Counter(episode.timed_on for episode in episodes)),
        "steps": {str(n): summary([episode for episode in episodes if episode.steps == n]) for n in steps},
        "episodes": [dataclasses.asdict(episode) for episode in episodes],
    }


def table(found: dict[str, Any]) -> str:
    """Return a `result` as text: what was played, a row per number of steps, and the crashes."""
    heads = ["steps", found["measure"], "middle half", "frames/s", "decisions/s"]
    heads += ["with simulator: frames/s", "decisions/s", "crashed"]
    places = 3 if score(found["measure"]).is_fraction else 1
    lines = [heads, *(_row(steps, row, places) for steps, row in found["steps"].items())]
    seeds = found["seeds"]
    about = [
        f"{found['run']} ({found['objective']}, training step {found['step']:,}) in {found['environment']}, "
        f"{found['execute']} actions a decision"
        + ("" if (decay := found.get("ensemble")) is None else f", ensembles of decay {decay:g}"),
        f"{len(seeds):,} episodes a row, seeds {seeds[0]} to {seeds[-1]}; timed on {'; '.join(found['timed_on'])}",
    ]
    return "\n".join([*about, "", format_table(lines), *_crashes(found)])


def _row(steps: str, row: dict[str, Any], places: int) -> list[str]:
    spread = lambda kind: f"{row[f'{kind}mean']:.{places}f} ± {row[f'{kind}deviation']:.{places}f}"
    names = [f"{what}_a_second{more}" for more in ("", "_with_simulator") for what in ("frames", "decisions")]
    rates = ["–" if row[name] is None else f"{row[name]:.1f}" for name in names]
    return [steps, spread(""), spread("middle_"), *rates, str(row["crashed"])]


def _crashes(found: dict[str, Any]) -> list[str]:
    bad = [episode for episode in found["episodes"] if episode["ended"].startswith("crashed")]
    if not bad:
        return []
    lines = [f"  {format_steps(one['steps'])}, seed {one['seed']}: {one['ended'].partition(': ')[2]}" for one in bad]
    if len(bad) > MAX_CRASHES:
        lines[MAX_CRASHES:] = [f"  and {len(bad) - MAX_CRASHES} more"]
    count = "1 episode crashed and counts" if len(bad) == 1 else f"{len(bad)} episodes crashed and count"
    return ["", f"{count} as the lowest score, at most 0:", *lines]
