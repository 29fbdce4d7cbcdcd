"""A run as one HTML page that needs no other file: its samples, quality, speed, training, commands, configuration."""

import base64
from collections import ChainMap
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from .._version import __version__
from ..drawing.curves import quality_curves
from ..drawing.losses import loss_curves, step_size_losses
from ..drawing.png import encode_png
from ..drawing.style import RAINBOW, colour_of, to_hex
from ..errors import UserError
from ..evaluation.results import guidance_of, guided, precision_of, read_result
from ..metrics.catalogue import metric, quality_measures
from ..models.model import Model
from ..models.run import PARTS, Run
from ..recipes.commands import evaluate_command, join, train_command
from ..system.files import write_atomically
from ..text import format_count, format_duration, format_name, format_number, format_steps, format_value
from .animation import gif, rainbow_frames

Stat = tuple[str, str, str]  # a name, its value, and a few words more


def write_report(run: Path, model: Model, out: Path | None = None) -> Path:
    """Write the report of a run, with samples of its model; where a part is missing, it has the command for it."""
    if run.is_file():
        raise UserError(f"{run} is a file: a report needs the whole run, so pass its directory")
    files = Run(run)
    config, metrics = files.read_config(), numbers_of(files.read_metrics())
    evaluation, fid = (read_result(path, run) for path in (files.evaluation, files.fid_result))
    is_2d = model.task.shape == (2,)
    page = TEMPLATES.get_template("report.html").render(
        title=config.get("recipe") or run.name,
        recipe=config.get("recipe"),
        gradient=RAINBOW,
        max_steps=model.objective.max_steps,
        data=config.get("data", ""),
        headline=headline(config, metrics, evaluation, model),
        samples=samples(model),
        quality=evaluation and quality(evaluation, model.step),
        fid=fid and quality(fid, model.step),
        speed=evaluation and seconds_per_sample(evaluation),
        is_2d=is_2d,
        animation=is_2d and any(files.snapshots.glob("step_*.npz")) and gif(rainbow_frames(run)),
        training=metrics and training(metrics),
        commands={
            "train": train_command(config, run),
            "sample": join("shortcut", "sample", run, "--steps", 1, 4, "--num", 64, "--out", "samples.npz"),
            "evaluate": evaluate_command(evaluation, run),
            "report": join("shortcut", "report", run),
            "animate": join("shortcut", "animate", run, "--out", "rainbow.gif"),
        },
        configuration={
            part: [(format_name(name), format_value(value)) for name, value in config[part].items()
                   if (part, name) != ("training", "name")]
            for part in PARTS
        },
        run=repr(str(run)),
        run_version=config.get("version", ""),
        version=__version__,
    )  # fmt: skip
    path = out or run / "report.html"
    write_atomically(path, page.encode())
    return path


def _data_uri(picture: Image.Image | bytes) -> str:
    """Return a picture, or the content of a GIF, as a part of the page."""
    kind, content = ("gif", picture) if isinstance(picture, bytes) else ("png", encode_png(picture))
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader(__package__, "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip
TEMPLATES.filters |= {"steps": format_steps, "duration": format_duration, "hex": to_hex, "data_uri": _data_uri}
TEMPLATES.globals["colour_of"] = colour_of


def headline(
    config: dict[str, Any], metrics: list[dict[str, Any]], evaluation: dict[str, Any] | None, model: Model
) -> list[Stat]:
    """Return the size of the network, how long it was trained, and the main results."""
    entry = config["network"]
    sizes = [f"{name} {entry[name]}" for name in ("width", "depth") if name in entry]
    kind = ", ".join([entry.get("name") or str(entry.get("class")).rpartition(".")[2], *sizes])
    planned = config["training"].get("train_steps", model.step)
    seconds = [line["seconds"] for line in metrics if "seconds" in line]
    duration = f"in {format_duration(seconds[-1])}" if seconds else ""
    return [
        ("Parameters", format_count(sum(p.numel() for p in model.network.parameters())), kind),
        ("Training steps", f"{model.step:,}", (f"of {planned:,} " if model.step < planned else "") + duration),
        *(main_results(evaluation) if evaluation else []),
    ]


def main_results(evaluation: dict[str, Any]) -> list[Stat]:
    """Return quality and speed in the fewest steps and in the most, and where they were measured."""
    rows, machine = {int(steps): row for steps, row in evaluation["steps"].items()}, evaluation["machine"]
    few, many = min(rows), max(rows)

    def compared(name: str, values: dict[int, str]) -> Stat:
        more = f"{values[many]} in {format_steps(many)}" if many > few else ""
        return f"{name} in {format_steps(few)}", values[few], more

    found = [
        compared(format_name(name).capitalize(), {n: metric(name).format(rows[n].get(name)) for n in (few, many)})
        for name in quality_measures(evaluation)[:1]
    ]
    seconds = seconds_per_sample(evaluation)
    found.append(compared("A sample", {n: format_duration(seconds[n]) for n in (few, many)}))
    device = str(machine.get("device", "?"))
    about = f"{machine.get('architecture', '')}, {machine.get('cores', '?')} cores, torch {machine.get('torch', '?')}"
    return [*found, ("Machine", device.upper() if len(device) == 3 else device, about)]


def samples(model: Model) -> dict[str, Any]:
    """Return pictures of what the same noises become in 1, 2, 4, ... steps."""
    num, columns = model.task.preview_grid
    steps = [2**k for k in range(model.objective.max_steps.bit_length())]
    pictures = [model.draw(model.sample(num, steps=n), model.labels(num), columns) for n in steps]
    return {
        "wide": pictures[-1].width >= 3 * pictures[-1].height,
        "classes": model.classes,
        "pictures": list(zip(steps, pictures, strict=True)),
    }


def quality(evaluation: dict[str, Any], step: int) -> dict[str, Any]:
    """Return the measures as a table, as curves, and with their meanings; step: training step of the run's model."""
    rows = evaluation["steps"]
    elsewhere = ("seconds", "guidance")  # on the page
    names = [name for name in dict.fromkeys(name for row in rows.values() for name in row) if name not in elsewhere]
    old = "" if evaluation["step"] == step else f" They are of training step {evaluation['step']:,}."
    rounded = "bfloat16" if precision_of(evaluation) == "bf16" else ""
    judged = f" {evaluation['verdict'].capitalize()}." if evaluation.get("verdict") else ""
    facts = ", ".join(filter(None, [f"seed {evaluation['seed']}", guided(guidance_of(evaluation)), rounded]))
    return {
        "text": f"{evaluation['num']:,} samples for each number of steps, from the same noises ({facts}).{old}{judged}",
        "names": [format_name(name) for name in names],
        "references": [
            (name, [metric(each).format(evaluation[name][each]) if each in evaluation[name] else "" for each in names])
            for name in ("real", "chance")
            if evaluation.get(name)
        ],
        "rows": [(int(n), [metric(name).format(row.get(name)) for name in names]) for n, row in rows.items()],
        "most": max(map(int, rows)),
        "curves": quality_measures(evaluation) and quality_curves(evaluation),
        "notes": [(format_name(name), metric(name).meaning) for name in names if metric(name).meaning],
    }


def seconds_per_sample(evaluation: dict[str, Any]) -> dict[int, float]:
    """Return the time for a sample at each number of steps."""
    return {int(n): row["seconds"] / evaluation["num"] for n, row in evaluation["steps"].items()}


def numbers_of(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return lines of the log with their numbers alone, as callbacks and other programs may write more."""
    return [{name: value for name, value in line.items() if isinstance(value, (int, float))} for line in metrics]


def training(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """Return loss curves, the last loss at each step size, and how the run went."""
    last = dict(ChainMap(*reversed(metrics)))
    rates = [line["steps_per_second"] for line in metrics if "steps_per_second" in line]
    return {
        "step": f"{last['step']:,}",
        "curves": loss_curves(metrics),
        "stats": [
            ("Loss", format_number(last.get("loss")), "mean of the last steps"),
            ("Held-out loss", format_number(last.get("heldout_loss")), "of the averaged weights"),
            ("Gradient norm", format_number(last.get("gradient_norm")), "before it is clipped"),
            ("Speed", format_number(float(np.median(rates)) if rates else None), "steps a second, median"),
            ("Steps skipped", str(last.get("skipped", "–")), "as loss or gradient was not finite"),
        ],
        "levels": [(*level, format_number(last[key])) for key, level in step_size_losses(last).items() if key in last],
    }
