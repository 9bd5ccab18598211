"""Poles on carts that want to be balanced (Barto, Sutton and Anderson 1983, https://doi.org/10.1109/TSMC.1983.6313077).

A cart on a frictionless track carries a hinged pole and is pushed left or right with a constant force, fifty times a second. An
episode ends when the pole leans more than 12 degrees, when the cart is more than 2.4 m from the middle, or after 500 steps;
each step is rewarded with 1. Constants and initial states are those of the usual benchmark. Many independent carts are
simulated at once, in numpy; `reinforce.py` and `dqn.py` learn to push them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from graphc.runtime.program import Program

GRAVITY, CART_MASS, POLE_MASS = 9.8, 1.0, 0.1  # m/s^2, kg, kg
HALF_LENGTH, FORCE, TAU = 0.5, 10.0, 0.02  # m, N, s
FAR, STEEP = 2.4, np.radians(12)  # m, rad
STEPS = 500
STATES, ACTIONS = 4, 2


@dataclass
class Result:
    """Mean length of the episodes while learning, one for each round; of the learned policy on new poles; the program."""

    lengths: list[float]
    length: float
    program: Program


class Step(NamedTuple):
    """What a push led to, each (N,) but the states: failed is the end of an episode by falling, late that by the clock."""

    states: np.ndarray
    rewards: np.ndarray
    failed: np.ndarray
    late: np.ndarray


class CartPoles:
    """`count` carts; states (count, 4) float32: place m, speed m/s, angle rad (positive to the right), its speed rad/s."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.exact = np.zeros((count, STATES))
        self.steps = np.zeros(count, np.int64)
        self.reset(np.ones(count, bool))

    @property
    def states(self) -> np.ndarray:
        return self.exact.astype(np.float32)

    def reset(self, chosen: np.ndarray) -> np.ndarray:
        """New episodes where `chosen` (count,) is true: all four numbers uniform in -0.05 ... 0.05. The states of all carts."""
        self.exact[chosen] = self.random.uniform(-0.05, 0.05, (int(chosen.sum()), STATES))
        self.steps[chosen] = 0
        return self.states

    def step(self, actions: np.ndarray) -> Step:
        """Push each cart to the left (0) or to the right (1). Who has ended an episode calls `reset`; nothing else does."""
        self.exact = after(self.exact, np.where(actions == 1, FORCE, -FORCE))
        self.steps += 1
        failed = (np.abs(self.exact[:, 0]) > FAR) | (np.abs(self.exact[:, 2]) > STEEP)
        return Step(self.states, np.ones(len(failed), np.float32), failed, ~failed & (self.steps >= STEPS))


def after(states: np.ndarray, force: np.ndarray) -> np.ndarray:
    """The states (N, 4) one step of Euler's method later, under forces (N,)."""
    _, speed, angle, turning = states.T
    mass, cosine, sine = CART_MASS + POLE_MASS, np.cos(angle), np.sin(angle)
    push = (force + POLE_MASS * HALF_LENGTH * turning**2 * sine) / mass
    turn = (GRAVITY * sine - cosine * push) / (HALF_LENGTH * (4 / 3 - POLE_MASS * cosine**2 / mass))
    acceleration = push - POLE_MASS * HALF_LENGTH * turn * cosine / mass
    return states + TAU * np.stack([speed, acceleration, turning, turn], 1)


def mean_length(policy: Callable[[np.ndarray], np.ndarray], count: int, seed: int) -> float:
    """The mean number of steps that `policy` (states -> actions) balances `count` new poles, one episode each."""
    poles = CartPoles(count, seed)
    lengths, going = np.zeros(count), np.ones(count, bool)
    while going.any():
        done = poles.step(policy(poles.states))
        lengths += going
        going &= ~(done.failed | done.late)
    return float(lengths.mean())
