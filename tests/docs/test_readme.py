"""The README and the documentation: every command, every snippet, every link, and the figures of the README."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from helpers.models import FLOWERS, model_of
from helpers.original_maker import Original, write
from helpers.paths import ROOT
from helpers.runs import COMMANDS, shortcut, train
from helpers.snippets import load_file, shortened
from shortcut_models.cli import read
from shortcut_models.cli.compare import Compare
from shortcut_models.metrics.catalogue import METRICS
from shortcut_models.networks import NETWORKS
from shortcut_models.objectives import OBJECTIVES
from shortcut_models.policies.environments import ENVIRONMENTS
from shortcut_models.recipes.library import RECIPES
from shortcut_models.tasks import TASKS

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


class Command(NamedTuple):
    """A line of a shell block."""

    page: str
    words: list[str]


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    return [body for _, found, body in FENCE.findall(page.read_text()) if found == language]


def commands() -> list[Command]:
    lines = ((page, line.strip()) for page in PAGES for block in blocks(page, "bash") for line in block.splitlines())
    return [Command(str(page.relative_to(ROOT)), shlex.split(line)) for page, line in lines if line]


def slug(heading: str) -> str:
    """Return the anchor of a heading, as Markdown's table of contents makes it."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, digits_run: Path) -> Path:
    """Return a folder with a tiny run in place of the one in the snippets."""
    folder = tmp_path_factory.mktemp("snippets")
    shutil.copytree(digits_run, folder / "runs" / "digits")
    return folder


@pytest.fixture
def registries() -> Iterator[None]:
    """Remove what a snippet adds to the package's dicts."""
    dicts: tuple[Any, ...] = (NETWORKS, OBJECTIVES, TASKS, RECIPES, ENVIRONMENTS, METRICS)
    before = [dict(each) for each in dicts]
    yield
    for each, content in zip(dicts, before, strict=True):
        each.clear()
        each.update(content)


@pytest.mark.parametrize("command", commands(), ids=lambda command: f"{command.page}: {' '.join(command.words)}")
def test_a_command_exists(command: Command, registries: None) -> None:
    program, *words = command.words
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif program == "pip":
        extras = [extra for found in re.findall(r"\[(.+)\]", words[-1]) for extra in found.split(",")]
        assert all(f"\n{extra} = " in (ROOT / "pyproject.toml").read_text() for extra in extras)
    elif program == "python":
        assert any((ROOT / word).is_file() for word in words)
        if words[0].endswith("my_objective.py"):
            load_file(ROOT / words[0], "my_objective")
            parse(words[1:])
    else:
        assert program == "shortcut"
        parse(words)


def parse(words: list[str]) -> None:
    """Read the words of a command as the command would. Raises UserError where they are wrong."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        command = read(words) if words else None  # an example may have no options
        if isinstance(command, Compare):
            command.comparison()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_the_snippets_of_a_page_run(
    page: Path, place: Path, registries: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    path = tmp_path / "snippets.py"
    path.write_text(shortened("\n\n".join(blocks(page, "python"))))
    (tmp_path / "runs").mkdir()
    os.symlink(place / "runs" / "digits", tmp_path / "runs" / "digits")
    monkeypatch.chdir(tmp_path)
    if page.name == "original.md":
        write(tmp_path / "checkpoint.pkl", Original(48, heads=12, channels=4, classes=1000, image_size=32).checkpoint())
    if page.name == "models.md":
        model_of(FLOWERS).save(tmp_path / "runs" / "flowers")
        request.getfixturevalue("annotations_unchecked")  # torch.compile does not trace the checks
    load_file(path, "snippets")
    if page.name == "your-network.md":
        train(
            tmp_path / "line",
            "--train-steps",
            3,
            options=("train", "moons", "--network", "line", "--network.width", 32),
        )
    if page.name == "your-objective.md":
        words = ("train", "moons", "--objective", "four-in-one", "--network.width", 32, "--batch-size", 32)
        train(tmp_path / "student", "--train-steps", 3, "--teacher", "runs/teacher", options=words)
    if page.name == "your-task.md":
        train(tmp_path / "ring", "--train-steps", 3, options=("train", "ring", "--task.radius", 3))
        said = shortcut("evaluate", tmp_path / "ring", "--steps", 1, "--num", 20)
        assert "off_the_ring" in said.out


def rows(text: str) -> dict[str, list[str]]:
    """Return the rows of all tables of a text, without emphasis and comments, by their first cell.

    The cells of rows with the same first cell follow one another.
    """
    found: dict[str, list[str]] = {}
    for line in re.sub(r"<!--.*?-->|\*", "", text).splitlines():
        if line.startswith("|"):
            first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found.setdefault(first, []).extend(cells)
    return found


def test_the_figures_of_the_readme_are_those_of_the_benchmarks() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text().partition("## Nine methods")[2]
    digits, gaussians = (
        rows(part.partition("**Fashion-MNIST**")[0]) for part in page.partition("**Four Gaussians**")[::2]
    )
    shown = {name: cells for name, cells in rows((ROOT / "README.md").read_text()).items() if name in OBJECTIVES}
    assert len(shown) == 9
    for name, (many, one, points, _) in shown.items():
        assert many == digits[name][0]
        assert one == digits[name][2]
        assert points == gaussians[name][2].partition(" ")[0]


RESULTS = re.compile(r"^\| what \| result \| command \| machine \| date \|\n\|[- |]+\|\n((?:\|.*\n?)+)", re.MULTILINE)


def test_every_result_has_its_command_machine_and_date() -> None:
    results = [row for page in PAGES for table in RESULTS.findall(page.read_text()) for row in table.splitlines()]
    assert len(results) > 30
    for row in results:
        what, _, command, machine, date = (cell.strip() for cell in row.strip("|").split("|"))
        assert "<!-- measured:" in what, row
        assert command, row
        assert "core" in machine, row
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", date), row


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text()), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page.name}: {target}"


PAGES_OF_EXAMPLES = {
    "my_images": "your-images", "my_network": "your-network", "my_objective": "your-objective",
    "my_signals": "your-data",
}  # fmt: skip


def test_the_loop_of_ones_own_is_short_and_learns(tmp_path: Path) -> None:
    [loop] = blocks(ROOT / "docs" / "your-own-loop.md", "python")
    assert len(loop.splitlines()) < 30
    ends = []
    for steps in (1, 100):
        path = tmp_path / f"loop_{steps}.py"
        path.write_text(loop.replace("range(2000)", f"range({steps})").replace("MLP(width=128)", "MLP(width=32)"))
        torch.manual_seed(0)
        ends.append(load_file(path, "loop"))
    assert ends[1].loss < 0.8 * ends[0].loss
    assert ends[1].samples.shape == (16, 8, 8)
    averages, values = (list(network.parameters()) for network in (ends[1].ema, ends[1].net))
    assert not any(torch.equal(average, value) for average, value in zip(averages, values, strict=True))


@pytest.mark.parametrize("name", PAGES_OF_EXAMPLES)
def test_a_page_shows_its_example(name: str) -> None:
    hooks = load_file(ROOT / "docs" / "hooks.py", "hooks")
    page = hooks.on_page_markdown((ROOT / "docs" / f"{PAGES_OF_EXAMPLES[name]}.md").read_text())
    assert (ROOT / "examples" / f"{name}.py").read_text() in page


def test_the_command_line_page_has_every_command_and_option() -> None:
    hooks = load_file(ROOT / "docs" / "hooks.py", "hooks")
    page = hooks.on_page_markdown((ROOT / "docs" / "command-line.md").read_text())
    assert "{{" not in page
    for name in COMMANDS:
        assert f"\n## {name}\n" in page
        assert f"usage: shortcut {name}" in page
    for option in ("--steps", "--guidance", "--pairs", "--json", "--task.image-size", "--objective.bootstrap-fraction"):
        assert option in page


def test_a_help_text_of_no_command_is_refused() -> None:
    hooks = load_file(ROOT / "docs" / "hooks.py", "hooks")
    with contextlib.redirect_stderr(io.StringIO()), pytest.raises(ValueError, match="there is no command"):
        hooks.help_text(["train", "nothing"])
