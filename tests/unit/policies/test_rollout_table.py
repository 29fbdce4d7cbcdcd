"""The table of a rollout, against independent computations of the same numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import scipy.stats

from shortcut_models.policies.episode import Episode
from shortcut_models.policies.rollout import versions
from shortcut_models.policies.table import middle_half, summary, table


def episode(score: float, *, steps: int = 1, seed: int = 0, ended: str = "done", frames: int = 100) -> Episode:
    """Return an episode with 1 ms per frame, 21 ms more at each fourth one, and 5 ms of the simulator per frame."""
    decisions = frames // 4
    return Episode(steps, seed, score, frames, decisions, 0.001 * frames + 0.021 * decisions, 0.022 * decisions,
                   0.005 * frames, ended, "cpu, 1 x 2 threads")  # fmt: skip


def test_the_middle_half_is_what_is_left_between_the_quartiles() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 4, 5, 7, 8, 100, 101):
        scores = rng.normal(size=count)
        middle = middle_half(scores.tolist())
        assert len(middle) == count - 2 * (count // 4)
        assert middle.mean() == pytest.approx(scipy.stats.trim_mean(scores, 0.25))
    scores = rng.normal(size=100)
    low, high = np.quantile(scores, [0.25, 0.75])
    assert sorted(scores[(scores >= low) & (scores <= high)]) == middle_half(scores.tolist()).tolist()
    assert middle_half([0.0] * 60 + [1.0] * 40).tolist() == [0.0] * 35 + [1.0] * 15


def test_means_and_deviations() -> None:
    row = summary([episode(score) for score in (900.0, 910.0, 920.0, 100.0)])
    assert row["mean"] == 707.5
    assert row["deviation"] == pytest.approx(np.sqrt((192.5**2 + 202.5**2 + 212.5**2 + 607.5**2) / 4))
    assert (row["middle_mean"], row["middle_deviation"]) == (905.0, 5.0)
    assert summary([episode(3.5)])["deviation"] == 0.0


def test_a_crash_counts_as_0_or_as_the_lowest_score_below_it_and_is_counted() -> None:
    episodes = [episode(900.0), episode(800.0, ended="time limit"), episode(700.0, ended="crashed: Error: x")]
    row = summary(episodes)
    assert row["mean"] == pytest.approx(1700 / 3)
    assert (row["episodes"], row["done"], row["time_limit"], row["crashed"]) == (3, 1, 1, 1)
    crash = episode(-20.0, ended="crashed: Error: x")  # at its last whole frame, before the worst
    assert summary([episode(-900.0), episode(-100.0), crash])["mean"] == pytest.approx(-1900 / 3)
    assert summary([crash])["mean"] == 0


def test_rates_at_all_frames_and_at_those_that_decide() -> None:
    """4 frames take 4 x 1 + 21 ms in the policy, and 4 x 5 ms in the simulator; one that decides takes 22 and 5."""
    row = summary([episode(0.0), episode(0.0, frames=400)])
    assert (row["frames"], row["decisions"]) == (500, 125)
    assert row["frames_a_second"] == pytest.approx(4 / 0.025)
    assert row["decisions_a_second"] == pytest.approx(1 / 0.022)
    assert row["frames_a_second_with_simulator"] == pytest.approx(4 / 0.045)
    assert row["decisions_a_second_with_simulator"] == pytest.approx(1 / 0.027)


def test_without_frames_the_rates_are_none() -> None:
    gone = dataclasses.replace(
        episode(0.0, ended="crashed: x", frames=0), policy_seconds=0.0, decision_seconds=0.0, simulator_seconds=0.0
    )
    row = summary([gone])
    assert row["frames_a_second"] is row["decisions_a_second_with_simulator"] is None


def found(metric: str, rows: dict[int, list[Episode]]) -> dict[str, Any]:
    episodes = [one for row in rows.values() for one in row]
    return {
        "run": "runs/a", "objective": "shortcut", "step": 5000, "environment": "walk", "execute": 4, "seeds": [7, 8, 9],
        "measure": metric, "timed_on": {"cpu, 1 x 2 threads": 3},
        "steps": {str(steps): summary(row) for steps, row in rows.items()},
        "episodes": [dataclasses.asdict(one) for one in episodes],
    }  # fmt: skip


def test_the_table_as_text() -> None:
    rows = {
        1: [episode(893.7), episode(893.7)],
        128: [episode(61.25, steps=128), episode(0.0, steps=128, seed=9, ended="crashed: ValueError: no")],
    }
    assert (
        table(found("return", rows))
        == """\
runs/a (shortcut, training step 5,000) in walk, 4 actions a decision
3 episodes a row, seeds 7 to 9; timed on cpu, 1 x 2 threads

steps       return  middle half  frames/s  decisions/s  with simulator: frames/s  decisions/s  crashed
    1  893.7 ± 0.0  893.7 ± 0.0     160.0         45.5                      88.9         37.0        0
  128  30.6 ± 30.6  30.6 ± 30.6     160.0         45.5                      88.9         37.0        1

1 episode crashed and counts as the lowest score, at most 0:
  128 steps, seed 9: ValueError: no"""
    )


@pytest.mark.parametrize("metric", ["success", "coverage"])
def test_fractions_have_three_decimals(metric: str) -> None:
    text = table(found(metric, {1: [episode(1.0), episode(0.0), episode(1.0)]}))
    assert metric in text
    assert "0.667 ± 0.471" in text


def test_only_the_first_crashes_are_listed() -> None:
    text = table(found("return", {1: [episode(0.0, seed=i, ended="crashed: x") for i in range(15)]}))
    assert "15 episodes crashed and count as the lowest score, at most 0:" in text
    assert text.endswith("  1 step, seed 9: x\n  and 5 more")


@pytest.mark.needs_extra
def test_the_versions_are_those_that_are_installed() -> None:
    import gymnasium
    import torch

    found = versions(["gymnasium", "no-such-package"])
    assert found["gymnasium"] == gymnasium.__version__
    assert found["torch"] == torch.__version__
    assert "no-such-package" not in found
