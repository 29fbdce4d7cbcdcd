"""Driving by hand: keys, and gamepads by the meaning of their axes."""

from __future__ import annotations

import numpy as np
import pytest

from shortcut_models.policies.environments import CarRacing

pytestmark = pytest.mark.needs_extra

gymnasium = pytest.importorskip("gymnasium", reason="needs the extra `car-racing`")


def test_a_person_drives_with_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    from shortcut_models.policies.experts import HumanDriver, human

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(human, "WITHOUT_SCREEN", ())
    import pygame

    driver, environment = HumanDriver(), CarRacing(None)
    environment.reset(seed=0)
    pygame.display.set_mode((10, 10))
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_SPACE))
    driver.begin(environment)
    held = {pygame.K_LEFT, pygame.K_UP}
    monkeypatch.setattr(pygame.key, "get_pressed", lambda: Held(held))
    turned = [driver.act({}) for _ in range(12)]
    np.testing.assert_allclose([action[0] for action in turned[:3]], [-0.05, -0.1, -0.15], atol=1e-6)
    np.testing.assert_allclose(turned[-1], [-0.4, 1, 0])
    held.clear()
    np.testing.assert_allclose(driver.act({}), [-0.3, 0, 0], atol=1e-6)
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE))
    with pytest.raises(KeyboardInterrupt):
        driver.act({})
    driver.close()


class Mapped:
    """A controller as SDL shows it: axes by their meaning, from -32768 to 32767, triggers from 0."""

    def __init__(self, **axes: int) -> None:
        import pygame

        self.axes = {getattr(pygame, f"CONTROLLER_AXIS_{name}"): value for name, value in axes.items()}

    def get_axis(self, axis: int) -> int:
        return self.axes.get(axis, 0)


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ({"TRIGGERLEFT": 32767}, [0, 0, 1]),
        ({"TRIGGERRIGHT": 32767}, [0, 1, 0]),
        ({"LEFTX": -32768, "TRIGGERRIGHT": 16384}, [-0.4, 0.5, 0]),
        ({"RIGHTX": 32767, "RIGHTY": 32767, "LEFTY": 32767}, [0, 0, 0]),
        ({"LEFTX": 2000, "TRIGGERLEFT": 2000}, [0, 0, 0]),
    ],
)
def test_a_gamepad_drives_by_what_its_axes_mean(axes: dict[str, int], expected: list[float]) -> None:
    from shortcut_models.policies.experts.human import Gamepad

    pad = Gamepad(Mapped())
    assert (pad.action() == 0).all()
    pad._controller = Mapped(**axes)
    np.testing.assert_allclose(pad.action(), expected, atol=1e-4)


def test_a_trigger_counts_once_it_was_released() -> None:
    """Until it is touched, SDL reports an axis that rests at one end as one in the middle."""
    from shortcut_models.policies.experts.human import Gamepad

    pad = Gamepad(Mapped(TRIGGERRIGHT=16384, TRIGGERLEFT=16384))
    assert (pad.action() == 0).all()
    pad._controller = Mapped(TRIGGERRIGHT=0, TRIGGERLEFT=20000)
    assert (pad.action() == 0).all()
    pad._controller = Mapped(TRIGGERRIGHT=32767, TRIGGERLEFT=20000)
    assert pad.action().tolist() == [0, 1, 0]


class Held:
    """The keys that are down."""

    def __init__(self, keys: set[int]) -> None:
        self.keys = keys

    def __getitem__(self, key: int) -> bool:
        return key in self.keys
