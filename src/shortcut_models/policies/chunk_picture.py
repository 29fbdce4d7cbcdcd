"""A picture of what a policy predicts in an episode of demonstrations, over the actions that were shown."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from ..data.demonstrations import Demonstrations, read
from ..drawing.chunks import plot_predictions
from ..errors import UserError
from .policy import Policy


def draw_chunks(
    policy: Policy, data: str | Path | None = None, *, episode: int | None = None, steps: Sequence[int] = (1,),
    seed: int = 0,
) -> Image.Image:  # fmt: skip
    """Draw the chunks that a policy predicts in an episode, over the actions that were shown in it.

    The policy sees the recorded observations, and decides in every `execute`-th frame, as it would when acting. Its own
    actions change nothing: this shows what it learned, and a rollout shows what that leads to.

    Args:
        policy: whose chunks; what it remembers stays as it is.
        data: demonstrations, as `demonstrations.read` takes them; None: where they were for training.
        episode: its number in the data, from 0; None: the first one that was held out, and of other data the first.
        steps: numbers of sampling steps, a column each.
        seed: of the noises.

    Returns:
        A row for each number of an action, dashed as shown and solid as predicted.

    Raises:
        UserError: the data cannot be read or has other observations or actions, or a number is out of its range.
    """
    task = policy.task
    where = task.data if data is None else data
    found = read(str(where), task.names)
    if found.actions.shape[1:] != task.shape[1:]:
        sizes = found.actions.shape[1], task.shape[1]
        raise UserError(f"an action in {where} has size {sizes[0]}, and one of the policy {sizes[1]}: use other data")
    if not steps:
        raise UserError("steps must be at least one number of sampling steps, such as (1, 4)")
    if episode is None:
        episode = task.split(found)[1][0] if data is None else 0
    if not 0 <= episode < len(found):
        raise UserError(f"episode {episode} does not exist in {where}: choose one from 0 to {len(found) - 1}")
    rows = slice(int(found.begins[episode]), int(found.ends[episode]))
    begins = range(0, rows.stop - rows.start, policy.execute)
    predicted = {n: _predict(policy.copy(), found, rows, n, seed) for n in dict.fromkeys(steps)}
    return plot_predictions(found.actions[rows], begins, predicted, policy.model.objective.max_steps, found.fps)


def _predict(
    policy: Policy, found: Demonstrations, rows: slice, steps: int, seed: int
) -> Float[np.ndarray, "k columns m"]:
    """Return the chunks of an episode, decided in every `execute`-th frame."""
    policy.reset(seed=seed)
    chunks = []
    for frame, row in enumerate(range(rows.start, rows.stop)):
        observation = {name: np.asarray(array[row]) for name, array in found.observations.items()}
        if frame % policy.execute == 0:
            chunks.append(policy.predict(observation, steps).actions)
        else:
            policy.observe(observation)
    return np.stack(chunks)
