"""Networks in evaluation mode while they sample, also in several threads at once."""

import contextlib
import threading
import weakref
from collections.abc import Iterator

from torch import nn

_LOCK = threading.Lock()
_HELD: weakref.WeakKeyDictionary[nn.Module, tuple[int, list[nn.Module]]] = weakref.WeakKeyDictionary()
"""for each network that is held: by how many, and its modules that were training before"""


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Hold a network in evaluation mode; each module returns to its own mode when the last thread leaves."""
    with _LOCK:
        count, training = _HELD.get(network, (0, []))
        found = [module for module in network.modules() if module.training]
        for module in found:
            module.training = False
        _HELD[network] = count + 1, [*training, *found]
    try:
        yield
    finally:
        with _LOCK:
            count, training = _HELD.pop(network)
            if count > 1:
                _HELD[network] = count - 1, training
            else:
                for module in training:
                    module.training = True
