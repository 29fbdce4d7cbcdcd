"""Torch's global settings, which a program around the package may have changed."""

import contextlib
import threading
from collections.abc import Iterator

import torch

KINDS = ("cpu", "cuda")  # of devices that may compute in another precision


class _Float32:
    """The default dtype, which all threads share: float32 as long as any of them computes here."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.threads: list[int] = []  # of the blocks that are open
        self.left: torch.dtype | None = None  # what the last block to close brings back

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        thread = threading.get_ident()
        with self.lock:
            before = torch.get_default_dtype()
            if before != torch.float32:
                torch.set_default_dtype(torch.float32)
            self.threads.append(thread)
        try:
            yield
        finally:
            with self.lock:
                self.threads.remove(thread)
                replaced = before != torch.float32
                self.left = before if replaced else self.left
                alone = {*self.threads} <= {thread}
                if self.left is not None and alone and (replaced or not self.threads):
                    torch.set_default_dtype(self.left)
                    self.left = None


_FLOAT32 = _Float32()


@contextlib.contextmanager
def torch_defaults(*, gradients: bool = False, meta: bool = False) -> Iterator[None]:
    """Use torch's own default dtype and device during the block. Also a decorator.

    Several threads may be in such blocks at once: a dtype that the program chose comes back with the last of them.

    gradients: enable them, too, also where the program works in inference mode, and turn autocast off; meta: leave that
    device, on which programs count parameters.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_FLOAT32.hold())
        if torch.get_default_device().type not in (("cpu", "meta") if meta else ("cpu",)):
            stack.enter_context(torch.device("cpu"))
        if gradients:
            for kind in filter(torch.is_autocast_enabled, KINDS):
                stack.enter_context(torch.autocast(kind, enabled=False))
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
        yield
