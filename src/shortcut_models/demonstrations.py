"""Demonstrations from Python: write arrays that are in memory, read any format, and draw an episode.

>>> from shortcut_models import demonstrations
>>> demonstrations.write("demos", [{"observations": {"state": states}, "actions": actions}], fps=20)
>>> demonstrations.draw("demos", episode=0).save("episode.png")
"""

from pathlib import Path

from PIL import Image

from .data.demonstrations import Demonstrations, Episode, draw_episode, read, write

__all__ = ["Demonstrations", "Episode", "draw", "read", "write"]


def draw(data: str | Path | Demonstrations, episode: int = 0) -> Image.Image:
    """Draw an episode: the frames of each camera over time, and curves of its vectors and actions.

    Args:
        data: demonstrations, or where they are, as for `read`.
        episode: its number, from 0.

    Raises:
        UserError: the data cannot be read, or does not have this episode.
    """
    return draw_episode(data if isinstance(data, Demonstrations) else read(data), episode)
