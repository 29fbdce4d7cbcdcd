"""A person who drives the car with the keyboard or a gamepad."""

from typing import Any

import numpy as np
from jaxtyping import Float

from ...errors import UserError
from ..environments import Environment, Observation
from .base import Expert
from .car_racing.car import LOCK

KEYS = "the arrows or W, A, S, D drive, or a gamepad's left stick and triggers; Escape ends"
TURN = 0.05  # radians per frame that a key turns the front wheels
RETURN = 0.1  # radians per frame that they turn back without a key
BRAKE = 0.6  # brake of a key; from 0.9 on, the wheels block
DEAD_ZONE = 0.08  # positions of a stick or a trigger that count as 0
WITHOUT_SCREEN = ("dummy", "offscreen")  # SDL's video drivers that show nothing


class Gamepad:
    """A gamepad that SDL knows: SDL maps the axes of each model to their meanings."""

    STICK, BRAKE, GAS = 0, 4, 5  # SDL_CONTROLLER_AXIS_LEFTX, ..._TRIGGERLEFT, ..._TRIGGERRIGHT
    MAX_POSITION = 32767

    def __init__(self, controller: Any) -> None:
        """Wrap a controller of pygame._sdl2.controller."""
        self._controller = controller
        self._released: set[int] = set()  # triggers that were at 0 once; before that, one may seem half pulled

    def action(self) -> Float[np.ndarray, "3"]:
        """Return steering from the left stick, gas and brake from the triggers."""
        stick = self._axis(self.STICK)
        steer = LOCK * stick if abs(stick) > DEAD_ZONE else 0.0
        return np.array([steer, self._trigger(self.GAS), self._trigger(self.BRAKE)], np.float32)

    def _axis(self, axis: int) -> float:
        return max(self._controller.get_axis(axis) / self.MAX_POSITION, -1.0)

    def _trigger(self, axis: int) -> float:
        pulled = self._axis(axis)
        if pulled <= DEAD_ZONE:
            self._released.add(axis)
        return pulled if axis in self._released and pulled > DEAD_ZONE else 0.0


class HumanDriver(Expert):
    """Shows each frame in a window and reads the action from keyboard or gamepad, in real time."""

    def __init__(self) -> None:
        """Find screen and gamepads, or raise UserError if pygame or a screen is missing."""
        try:
            import pygame
        except ImportError:
            raise UserError("--human needs an extra: pip install 'shortcut-models[car-racing]'") from None
        self._pygame: Any = pygame
        try:
            pygame.display.init()
            shows = pygame.display.get_driver() not in WITHOUT_SCREEN
        except pygame.error:
            shows = False
        if not shows:
            raise UserError("--human needs a screen, and there is none: leave it out to let the expert drive")
        from pygame._sdl2 import controller

        controller.init()
        self._gamepads = [
            Gamepad(controller.Controller(i)) for i in range(controller.get_count()) if controller.is_controller(i)
        ]
        self._clock = pygame.time.Clock()
        self._wheel = 0.0

    def begin(self, environment: Environment) -> None:
        """Open the window, and wait for a key or a button."""
        self._environment, self._wheel = environment, 0.0
        rows, columns = environment.render().shape[:2]
        self._window = self._pygame.display.set_mode((columns, rows))
        self._pygame.display.set_caption(f"Press a key to start. {KEYS}")
        while not self._show(self._pygame.KEYDOWN, self._pygame.CONTROLLERBUTTONDOWN):
            pass

    def act(self, observation: Observation) -> Float[np.ndarray, "3"]:
        """Return the gamepad's action, else that of the keys. Escape and a closed window raise KeyboardInterrupt."""
        self._show()
        actions = [action for action in (pad.action() for pad in self._gamepads) if np.abs(action).max() > 0]
        return actions[0] if actions else self._action_of_keys()

    def _show(self, *awaited: int) -> bool:
        """Draw a frame, wait for its end, and return whether one of these events has happened."""
        pygame = self._pygame
        events = pygame.event.get()
        if any(e.type == pygame.QUIT or (e.type == pygame.KEYDOWN and e.key == pygame.K_ESCAPE) for e in events):
            raise KeyboardInterrupt
        picture = self._environment.render().transpose(1, 0, 2)
        self._window.blit(pygame.surfarray.make_surface(picture), (0, 0))
        pygame.display.flip()
        self._clock.tick(self._environment.render_fps)
        return any(event.type in awaited for event in events)

    def _action_of_keys(self) -> Float[np.ndarray, "3"]:
        pygame, pressed = self._pygame, self._pygame.key.get_pressed()
        right = pressed[pygame.K_RIGHT] or pressed[pygame.K_d]
        left = pressed[pygame.K_LEFT] or pressed[pygame.K_a]
        side = int(right) - int(left)
        if side:
            self._wheel = float(np.clip(self._wheel + side * TURN, -LOCK, LOCK))
        else:
            self._wheel -= float(np.clip(self._wheel, -RETURN, RETURN))
        gas = float(pressed[pygame.K_UP] or pressed[pygame.K_w])
        brake = BRAKE if pressed[pygame.K_DOWN] or pressed[pygame.K_s] else 0.0
        return np.array([self._wheel, gas, brake], np.float32)

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()
