"""The command `shortcut inspect`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from ..errors import UserError
from .shared import ImageOptions, OfImages, check_out

if TYPE_CHECKING:
    from ..tasks import Images


_SIDE = 64  # of images of several sizes


@dataclass(frozen=True, kw_only=True)
class Inspect(OfImages):
    data: Positional[str]
    """images or demonstrations, as --data of a training takes them, or latents that `shortcut encode` wrote"""
    out: Path | None = None
    """picture of examples, .png: some of each class, or an episode (default: no picture)"""

    def __call__(self) -> None:
        from ..system.files import writing

        check_out(self.out, ".png")
        task = self._resolved()
        print(task.describe_data())
        if self.out is not None:
            picture = task.draw_data()
            with writing(self.out) as file:
                picture.save(file, "PNG")

    def _resolved(self) -> Any:
        """Return the task of the data, which is read: one that can describe and draw it."""
        from ..data.demonstrations import is_demonstrations
        from ..tasks import Imitation
        from ..tasks.latents.task import encoded_images

        if is_demonstrations(self.data):
            self._refuse_options("demonstrations")
            return Imitation(self.data).resolve()
        if (latents := encoded_images(self.data)) is not None:
            self._refuse_options("latents")
            return latents
        return self._images()

    def _images(self) -> "Images":
        """Return images at the size asked for, at their own, or, where they have several, at a small one."""
        from ..data.images.decode import PASS_SIZE
        from ..tasks import Images

        of = lambda size: Images(self.data, size, self.task.channels, skip_damaged=self.task.skip_damaged).resolve()
        try:
            return of(self.task.image_size)
        except UserError as error:
            if PASS_SIZE not in str(error):
                raise
            print(f"{error}; here they are shown at {_SIDE}x{_SIDE}")
            return of(_SIDE)

    def _refuse_options(self, what: str) -> None:
        if self.task != ImageOptions():
            raise UserError(
                f"{self.data} holds {what}: options such as --task.image-size are for images, leave them out"
            )
