"""Runs side by side: what is collected, and that every point of it is in the figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.pixels import figures_drawn
from helpers.runs import POINTS, shortcut, train
from shortcut_models.drawing.curves import Values, against_size, against_steps
from shortcut_models.errors import UserError
from shortcut_models.models.run import Run
from shortcut_models.reports.side_by_side import collect, distinct_names, names_of, results_of


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of unlike size, evaluated."""
    place = tmp_path_factory.mktemp("runs")
    for name, more in {"flow": ("--objective", "flow"), "wide": ("--network.width", 24)}.items():
        train(place / name, options=(*POINTS, *more))
        assert shortcut("evaluate", place / name, "--steps", 1, 4, 8, "--num", 20).code == 0
    return [place / "flow", place / "wide"]


def as_fid(run: Path, more: dict[str, Any] | None = None, **measures: float) -> None:
    """Write a result of FID, at one number of steps."""
    found = json.loads(Run(run).evaluation.read_bytes())
    Run(run).fid_result.write_text(json.dumps(found | {"steps": {"1": measures | {"seconds": 1.0}}} | (more or {})))


REFERENCE = {"source": "a.npz", "count": 9, "sha256": "a" * 64, "network": "n" * 64}
UNLIKE: dict[str, tuple[dict[str, Any], str]] = {
    "num": ({"num": 30}, "flow was evaluated by 20 samples and wide by 30 samples, which do not .* same --num$"),
    "statistics": (
        {"reference": REFERENCE | {"source": "b.npz", "sha256": "b" * 64}},
        "flow was evaluated against a.npz and wide against b.npz, which do not compare: .* same --fid-stats$",
    ),
    "network": (
        {"reference": REFERENCE | {"network": "m" * 64}},
        "flow was evaluated by network nnnnnnnn and wide by network mmmmmmmm, which do not .* same --inception$",
    ),
}


@pytest.mark.parametrize("what", UNLIKE)
def test_what_does_not_compare_is_not_drawn(runs: list[Path], what: str) -> None:
    more, message = UNLIKE[what]
    try:
        as_fid(runs[0], {"reference": REFERENCE}, fid=3.0)
        as_fid(runs[1], {"reference": REFERENCE} | more, fid=4.0)
        with pytest.raises(UserError, match=message):
            results_of(names_of(runs))
    finally:
        for run in runs:
            Run(run).fid_result.unlink()


def test_unlike_guidance_stands_beside_the_names(runs: list[Path], tmp_path: Path) -> None:
    """Each number of steps has its own, so 1 step alone is alike here."""
    row = {"fid": 3.0, "seconds": 1.0, "guidance": 1.0}
    try:
        as_fid(runs[0], {"guidance": None, "steps": {"128": row | {"guidance": 1.5}, "1": row}})
        as_fid(runs[1], {"steps": {"128": row, "1": row}})
        results = results_of(names_of(runs))
        assert distinct_names(results, None) == ["flow (guidance 1.5 in 128 steps)", "wide (no guidance)"]
        assert distinct_names(results, [1]) == ["flow", "wide"]
        assert set(collect(results, None, None)) == {"fid"}
        for more, code in (((), 2), (("--steps", 1), 0)):
            done = shortcut("plot", *runs, "--against", "size", "--out", tmp_path / "p.png", *more)
            assert done.code == code, done
            assert code == 0 or "do not compare: evaluate them with the same --guidance" in done.err
        assert shortcut("report", runs[0], "--out", tmp_path / "r.html").code == 0
        assert "(seed 0, guidance 1.5 in 128 steps)" in (tmp_path / "r.html").read_text()
    finally:
        for run in runs:
            Run(run).fid_result.unlink()


def test_values_are_those_of_the_evaluations(runs: list[Path]) -> None:
    values = collect(results_of(names_of(runs)), None, None)
    for run in runs:
        rows = json.loads(Run(run).evaluation.read_bytes())["steps"]
        for steps, row in rows.items():
            for measure in ("sliced_wasserstein", "distance_to_finest"):
                assert values[measure][int(steps)][run.name] == [row[measure]]
    assert set(values) == {"sliced_wasserstein", "distance_to_finest"}
    only = collect(results_of(names_of(runs)), [4], ["sliced_wasserstein"])
    assert {name: list(by_steps) for name, by_steps in only.items()} == {"sliced_wasserstein": [4]}


def test_fid_is_taken_where_all_runs_have_it(runs: list[Path]) -> None:
    try:
        as_fid(runs[0], fid=3.0)
        assert "fid" not in collect(results_of(names_of(runs)), None, None)
        as_fid(runs[1], fid=4.0)
        assert collect(results_of(names_of(runs)), None, None) == {"fid": {1: {"flow": [3.0], "wide": [4.0]}}}
    finally:
        for run in runs:
            Run(run).fid_result.unlink()


def test_the_report_has_fid_where_it_was_measured(runs: list[Path], tmp_path: Path) -> None:
    try:
        as_fid(runs[0], fid=31.25, kid=0.0125)
        for run, there in zip(runs, (True, False), strict=True):
            assert shortcut("report", run, "--out", tmp_path / "r.html").code == 0
            page = (tmp_path / "r.html").read_text()
            assert [text in page for text in ("FID against steps", "31.25", "0.0125")] == [there] * 3
    finally:
        Run(runs[0]).fid_result.unlink()


def test_runs_have_distinct_names() -> None:
    assert list(names_of([Path("a/one"), Path("a/two")])) == ["one", "two"]
    assert list(names_of([Path("a/one"), Path("b/one")])) == ["a/one", "b/one"]


VALUES: Values = {
    "fid": {1: {"S": [40.0], "B": [20.0, 22.0]}, 128: {"S": [12.0], "B": [5.0, 7.0]}},
    "recall": {1: {"S": [0.4], "B": [0.5]}, 128: {"S": [0.6], "B": [0.7]}},
}


def test_a_line_a_run_against_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = figures_drawn(monkeypatch)
    against_steps(VALUES, ["S", "B"])
    fid, recall = seen[0].axes[:2]
    assert [line.get_xydata().tolist() for line in fid.lines] == [[[1, 40], [128, 12]], [[1, 21], [128, 6]]]
    assert (fid.get_title(loc="right"), recall.get_title(loc="right")) == ("lower is better", "higher is better")
    assert [text.get_text() for text in seen[0].legends[0].get_texts()] == ["S", "B"]


def test_a_line_a_number_of_steps_against_size(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = figures_drawn(monkeypatch)
    against_size(VALUES, {"S": 33_000_000, "B": 130_000_000})
    fid = seen[0].axes[0]
    assert [line.get_xydata().tolist() for line in fid.lines] == [
        [[33e6, 40], [130e6, 21]],
        [[33e6, 12], [130e6, 6]],
    ]
    assert [label.get_text() for label in fid.get_xticklabels()] == ["33 M", "130 M"]
    assert [text.get_text() for text in seen[0].legends[0].get_texts()] == ["1 step", "128 steps"]


@pytest.mark.parametrize("against", ["steps", "size"])
def test_the_command_draws_a_picture(
    runs: list[Path], tmp_path: Path, against: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = figures_drawn(monkeypatch)
    out = tmp_path / "p.png"
    done = shortcut("plot", *runs, "--against", against, "--out", out)
    assert done == (0, f"{out}\n", "")
    (figure,) = seen
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["sliced wasserstein", "distance to finest"]
    picture = np.asarray(Image.open(out).convert("RGB"))
    assert np.array_equal(picture, np.asarray(figure.canvas.buffer_rgba())[..., :3])
