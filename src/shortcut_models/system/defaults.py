"""Torch's global settings, which a program around the package may have changed."""

import contextlib
from collections.abc import Iterator

import torch

KINDS = ("cpu", "cuda")  # of devices that may compute in another precision


@contextlib.contextmanager
def torch_defaults(*, gradients: bool = False, meta: bool = False) -> Iterator[None]:
    """Use torch's own default dtype and device during the block. Also a decorator.

    gradients: enable them, too, also where the program works in inference mode, and turn autocast off; meta: leave that
    device, on which programs count parameters.
    """
    with contextlib.ExitStack() as stack:
        if (dtype := torch.get_default_dtype()) != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        if torch.get_default_device().type not in (("cpu", "meta") if meta else ("cpu",)):
            stack.enter_context(torch.device("cpu"))
        if gradients:
            for kind in filter(torch.is_autocast_enabled, KINDS):
                stack.enter_context(torch.autocast(kind, enabled=False))
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
        yield
