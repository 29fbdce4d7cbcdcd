"""The task's own measures of samples, while a network trains."""

from functools import partial

from ..models.model import Model
from .previews import PREVIEW_SECONDS, preview_counts
from .side_work import EVALUATION, SideWork

EVALUATED = 250  # samples at each number of steps
Results = dict[int, dict[str, float]]
"""the task's measures by their names, for each number of sampling steps"""


def passes(model: Model) -> int:
    """Return the passes through the network that an evaluation takes, times the examples of each."""
    return EVALUATED * sum(preview_counts(model))


def evaluate_samples(model: Model, side: SideWork) -> Results:
    """Return the task's measures of samples in 1, 4 and at most 128 steps, all from the same noises.

    All processes make the samples, and the main one measures them. Numbers of steps that would probably take an
    evaluation beyond its longest time are left out.
    """
    processes, found = side.state.processes, Results()
    with side.timed(EVALUATION):
        start, labels, counts = side.clock(), model.labels(EVALUATED), preview_counts(model)
        for steps, following in zip(counts, [*counts[1:], 0], strict=True):
            begin = side.clock()
            samples = model.sample(EVALUATED, steps=steps)
            found[steps] = processes.run_on_main(partial(model.task.evaluate, samples, labels))
            now = side.clock()
            expected = now - start + (now - begin) / steps * following
            if processes.all_reduce_max(int(expected > PREVIEW_SECONDS)):
                break
    return found


def figures(results: Results) -> dict[str, float]:
    """Return the measures by the names that the log gives them: "evaluate/1/accuracy"."""
    return {f"evaluate/{steps}/{name}": value for steps, row in results.items() for name, value in row.items()}
