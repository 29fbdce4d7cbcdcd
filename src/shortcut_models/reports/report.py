"""A run as one HTML page that needs nothing else: what it makes, how well, how fast, and how to do it again."""

from __future__ import annotations

import importlib.resources
import string
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..drawing.curves import quality_curves
from ..drawing.losses import loss_curves, step_size_losses
from ..drawing.style import RAINBOW, colour_of
from ..errors import UserError
from ..evaluation.results import guidance_of, guided, precision_of, read_result
from ..metrics.catalogue import measures_of
from ..models.model import Model
from ..models.run import PARTS, Run
from ..recipes import commands as reproduce
from ..system.files import write_atomically
from ..text import counted, duration, figure, large, plain, shown, time_of
from .animation import gif, rainbow_frames
from .html import budget, chart, css, embedded, facts, hint, measure, paper, section, table

PAPER = "https://arxiv.org/abs/2410.12557"
MEANING = {
    "accuracy": "share of samples in which a classifier of real data sees the label asked for",
    "accuracy_real": "the same share among real examples never trained on",
    "precision": "share of samples that lie among real examples: what is made looks right",
    "recall": "share of real examples that lie among samples: nothing is left out",
    "density": "how many real examples a sample lies among; about 1 for real data",
    "coverage": "share of real examples with a sample nearby",
    "sliced_wasserstein": "distance to real points, seen from all sides in turn",
    "pixel_frechet": "Fréchet distance to real images, by Gaussians fitted to their pixels",
    "fid": "Fréchet distance to real images, by Gaussians fitted to features of the Inception network",
    "kid": "squared maximum mean discrepancy of these features, unbiased also with few samples",
    "distance_to_finest": "how far a sample lies from that of the same noise in the most steps, on average and in "
    "standard deviations of the data",
}
"""of the measures that the tasks give, for a reader who meets them for the first time"""


def write_report(run: Path, model: Model, out: Path | None = None) -> Path:
    """Write the report of a run, with samples of its model, and return the path.

    Args:
        run: the run's directory; what is not there, an evaluation for one, is left out with a hint.
        model: as `load(run)` gives it.
        out: the file; by default `report.html` in the run's directory.

    Raises:
        UserError: `run` is no run's directory, or its evaluation is damaged.
    """
    if run.is_file():
        raise UserError(f"{run} is a file: a report needs the whole run, so give its directory")
    files = Run(run)
    config, metrics, evaluation = files.read_config(), files.read_metrics(), read_evaluation(files)
    body = [
        header(config, metrics, evaluation, model),
        samples(model),
        quality(evaluation, run, model.step),
        fid(files, model.step),
        speed(evaluation),
        film(files, model),
        training(metrics),
        commands(config, evaluation, run),
        configuration(config),
        f"<footer>Made by shortcut-models {__version__}, after "
        f"<a href='{PAPER}'>One Step Diffusion via Shortcut Models</a>.</footer>",
    ]
    template = importlib.resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8")
    page = string.Template(template).substitute(
        title=escape(f"{config.get('recipe') or run.name}: shortcut-models report"),
        gradient=", ".join(f"#{code}" for code in RAINBOW),
        body="\n".join(filter(None, body)),
    )
    path = out or run / "report.html"
    write_atomically(path, page.encode())
    return path


def read_evaluation(files: Run) -> dict[str, Any] | None:
    """What `shortcut evaluate` wrote, if it did. Raises UserError where that is damaged."""
    return read_result(files.evaluation, files.path)


def header(
    config: dict[str, Any], metrics: list[dict[str, Any]], evaluation: dict[str, Any] | None, model: Model
) -> str:
    """Name and headline facts."""
    most, size = model.objective.max_steps, sum(p.numel() for p in model.network.parameters())
    entry = config["network"]
    sizes = [f"{name} {entry[name]}" for name in ("width", "depth") if name in entry]
    kind = ", ".join([entry.get("name") or str(entry.get("class")).rpartition(".")[2], *sizes])
    planned = config["training"].get("steps", model.step)
    unfinished = f"of {planned:,} " if model.step < planned else ""
    seconds = [line["seconds"] for line in metrics if "seconds" in line]
    found = [
        ("Parameters", large(size), kind),
        (
            "Training steps",
            f"{model.step:,}",
            unfinished + (f"in {duration(seconds[-1])}" if seconds else ""),
        ),
    ]
    if evaluation is not None:
        found += headlines(evaluation)
    return (
        f"<header><p class='eyebrow'>shortcut-models report</p><h1>{escape(config.get('recipe') or 'A run')}</h1>"
        f"<p class='lead'>One network, trained once, that makes samples in any number of steps from 1 to {most}.</p>"
        f"{facts(found)}</header>"
    )


def headlines(evaluation: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Quality and speed in the fewest steps and in the most, and where they were measured."""
    rows, machine = {int(steps): row for steps, row in evaluation["steps"].items()}, evaluation["machine"]
    few, many = min(rows), max(rows)
    found = [
        (
            f"{plain(name).capitalize()} in {counted(few)}",
            measure(name, rows[few].get(name)),
            f"{measure(name, rows[many].get(name))} in {counted(many)}" if many > few else "",
        )
        for name in measures_of(evaluation)[:1]
    ]
    each = {steps: time_of(rows[steps]["seconds"] / evaluation["num"]) for steps in (few, many)}
    found.append((f"A sample in {counted(few)}", each[few], f"{each[many]} in {counted(many)}" if many > few else ""))
    device = str(machine.get("device", "?"))
    about = f"{machine.get('architecture', '')}, {machine.get('cores', '?')} cores, torch {machine.get('torch', '?')}"
    return [*found, ("Machine", device.upper() if len(device) == 3 else device, about)]


def samples(model: Model) -> str:
    """What the same noises become at every budget."""
    num, columns = model.task.preview_grid
    most, parts = model.objective.max_steps, []
    for steps in (2**k for k in range(most.bit_length())):
        picture = model.task.draw(model.sample(num, steps=steps), columns)
        parts.append((budget(steps, most), paper(picture, f"samples in {counted(steps)}")))
    text = "Every budget begins from the same noises; red is one step, purple the most. "
    if picture.width < 3 * picture.height:
        body = "".join(f"<div>{name}{image}</div>" for name, image in parts)
        return section("The same noise, more steps", text, f"<div class='tiles'>{body}</div>")
    text += "A column is one noise" + (", with the classes in turn." if model.classes else ".")
    body = "".join(f"{name}{image}" for name, image in parts)
    return section("The same noise, more steps", text, f"<div class='scroll'><div class='gallery'>{body}</div></div>")


def quality(evaluation: dict[str, Any] | None, run: Path, step: int) -> str:
    """Quality against steps: a table, curves, and what the measures mean."""
    title = "Quality against steps"
    if evaluation is None:
        return hint(title, "Not measured yet:", reproduce.evaluate_command(None, run))
    return quality_of(title, evaluation, step)


def quality_of(title: str, evaluation: dict[str, Any], step: int) -> str:
    """An evaluation: a table, curves, and what its measures mean."""
    rows, names = evaluation["steps"], list(dict.fromkeys(name for row in evaluation["steps"].values() for name in row))
    names = [name for name in names if name not in ("seconds", "guidance")]
    most = max(map(int, rows))
    numbers = table(
        ["steps", *map(plain, names)],
        ([budget(int(n), most), *(escape(measure(name, rows[n].get(name))) for name in names)] for n in rows),
    )
    old = "" if evaluation["step"] == step else f" They are of training step {evaluation['step']:,}."
    rounded = "bfloat16" if precision_of(evaluation) == "bf16" else ""
    facts = ", ".join(filter(None, [f"seed {evaluation['seed']}", guided(guidance_of(evaluation)), rounded]))
    text = f"{evaluation['num']:,} samples a budget from the same noises ({facts}).{old}"
    notes = "".join(f"<dt>{plain(n)}</dt> <dd>{escape(MEANING[n])}</dd>" for n in names if n in MEANING)
    curves = chart(quality_curves(evaluation), "curves of quality against steps")
    return section(title, text, f"<div class='scroll'>{numbers}</div>{curves}<dl class='notes'>{notes}</dl>")


def fid(files: Run, step: int) -> str:
    """Quality by the features of FID's network, where it was measured."""
    found = read_result(files.fid_result, files.path)
    return "" if found is None else quality_of("FID against steps", found, step)


def speed(evaluation: dict[str, Any] | None) -> str:
    """Time a sample at every budget, as bars."""
    if evaluation is None:
        return ""
    rows = {int(n): row["seconds"] / evaluation["num"] for n, row in evaluation["steps"].items()}
    most = max(rows)
    bars = "".join(
        f"{budget(n, most)}<div class='track'><i style='width:{100 * seconds / max(rows.values()):.2f}%;"
        f"background:{css(colour_of(n, most))}'></i></div><span class='value'>{time_of(seconds)}</span>"
        for n, seconds in rows.items()
    )
    text = "Time for each sample, when many are made at once. A step is one pass through the network."
    return section("Speed", text, f"<div class='bars'>{bars}</div>")


def film(files: Run, model: Model) -> str:
    """The rainbow of a 2-D run."""
    if model.task.shape != (2,):
        return ""
    title = "Step sizes coming to agree"
    command = reproduce.join("shortcut", "animate", files.path, "--out", "rainbow.gif")
    if not any(files.snapshots.glob("step_*.npz")):
        return hint(title, "This run kept no snapshots (--snapshots), as is needed for", command)
    text = (
        "A chain joins what one noise becomes in 1 step (red), 2, 4, ... steps (purple), while training goes on. "
        "Chains that close are what a shortcut model learns."
    )
    image = embedded(gif(rainbow_frames(files.path)), "gif", "chains of ends over training")
    return section(title, text, f"<div class='paper film'>{image}</div>")


def training(metrics: list[dict[str, Any]]) -> str:
    """Loss curves, the last loss at each step size, and how the run went."""
    if not metrics:
        return ""
    last: dict[str, Any] = {}
    for line in metrics:
        last |= line
    rates = [line["steps_per_second"] for line in metrics if "steps_per_second" in line]
    found = [
        ("Loss", figure(last.get("loss")), "mean of the last steps"),
        ("Held-out loss", figure(last.get("heldout_loss")), "of the averaged weights"),
        ("Gradient norm", figure(last.get("gradient_norm")), "before it is clipped"),
        ("Speed", figure(float(np.median(rates)) if rates else None), "steps a second, median"),
        ("Steps skipped", str(last.get("skipped", "–")), "as loss or gradient was not finite"),
    ]
    body = chart(loss_curves(metrics), "loss curves") + facts(found)
    levels = {key: look for key, look in step_size_losses(last).items() if key in last}
    text = f"Up to step {last['step']:,}."
    if len(levels) > 1:
        heads = [
            f"<span class='dot' style='background:{css(colour)}'></span>{label}" for label, colour in levels.values()
        ]
        body += "<h3>Last loss at each step size</h3>"
        body += f"<div class='scroll'>{table(heads, [[figure(last[key]) for key in levels]])}</div>"
        text += (
            " The loss at the smallest step size is that of flow matching, which cannot fall to 0; "
            "the others tell how far one step is from two of half its size."
        )
    return section("Training", text, body)


def commands(config: dict[str, Any], evaluation: dict[str, Any] | None, run: Path) -> str:
    """All that is needed to make this again."""
    train = reproduce.train_command(config, run)
    lines = [
        train or "# trained from Python, with parts that no command names",
        reproduce.join("shortcut", "sample", run, "--steps", 1, 4, "--num", 64, "--out", "samples.npz"),
        reproduce.evaluate_command(evaluation, run),
        reproduce.join("shortcut", "report", run),
    ]
    python = f"import shortcut_models\n\nmodel = shortcut_models.load({str(run)!r})\nmodel.sample(64, steps=1)"
    body = f"<pre>{escape(chr(10).join(lines))}</pre><h3>From Python</h3><pre>{escape(python)}</pre>"
    return section("Make it again", f"With shortcut-models {config.get('version', '')}.", body)


def configuration(config: dict[str, Any]) -> str:
    """All fields of the run's configuration."""
    tables = []
    for part in PARTS:
        fields = {name: value for name, value in config[part].items() if (part, name) != ("training", "name")}
        cells = ([escape(plain(name)), escape(shown(value))] for name, value in fields.items())
        tables.append(f"<div><h3>{part}</h3>{table([], cells)}</div>")
    return section("Configuration", "", f"<div class='config'>{''.join(tables)}</div>")
