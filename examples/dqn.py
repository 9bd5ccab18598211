"""A deep Q-network (Mnih et al. 2015, https://doi.org/10.1038/nature14236) balances poles.

The network says what discounted reward each push will lead to; as in the paper on poles, the reward is -1 for a failure and 0
for all else. It learns from steps drawn out of a replay buffer, and its targets come from a second network, which is the first
one as it was a few steps ago. Both live in one program: `sync`, a compiled function without inputs and outputs, copies the
variables of one to those of the other. The push that the target judges is chosen by the first network (double Q-learning,
https://arxiv.org/abs/1509.06461).

    python examples/dqn.py
    graphc compile examples/dqn.py --name dqn -o out    to learn from C
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from cartpole import ACTIONS, FAR, STATES, STEEP, STEPS, CartPoles, Result, mean_length
from rich.progress import track
from training import options, plot

import graphc as gc
from graphc import nn, optim

POLES, WIDTH, GAMMA, LR = 16, 64, 0.99, 4e-3
BATCH, CAPACITY, ROUND, SYNC_EVERY = 128, 100_000, 250, 10
EXPLORE = 0.05  # the share of random pushes, at the end
F = nn.functional


class Scale(nn.Module):
    """States (N, STATES) in numbers about 1."""

    def forward(self, states: gc.Tensor) -> gc.Tensor:
        return states / gc.constant(np.array([FAR, 2.0, STEEP, 2.0], np.float32))


def network() -> nn.Sequential:
    """(N, STATES) -> (N, ACTIONS): the discounted reward that each push leads to."""
    hidden = (nn.Linear(STATES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
    return nn.Sequential(Scale(), *hidden, nn.Linear(WIDTH, ACTIONS))


def declare(steps: int, seed: int = 0) -> dict[str, gc.Function]:
    """choose: the best push for each pole. train_step: learn from recorded steps. sync: the target becomes the network."""
    gc.manual_seed(seed)
    both = nn.ModuleDict({"online": network(), "target": network()})
    online, target = both["online"], both["target"]
    now = gc.placeholder((POLES, STATES), gc.float32, name="now")
    states = gc.placeholder((BATCH, STATES), gc.float32, name="states")
    actions = gc.placeholder((BATCH,), gc.int64, name="actions")
    rewards = gc.placeholder((BATCH,), gc.float32, name="rewards")
    then = gc.placeholder((BATCH, STATES), gc.float32, name="then")
    failed = gc.placeholder((BATCH,), gc.bool, name="failed")

    best = online(then).argmax(1, keepdim=True)
    later = gc.where(failed, 0.0, target(then).gather(1, best).squeeze(1))
    value = online(states).gather(1, actions.unsqueeze(1)).squeeze(1)
    loss = F.smooth_l1_loss(value, (rewards + GAMMA * later).detach())
    optimizer = optim.Adam(online.parameters(), LR)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    gradients = nn.utils.clip_grad_norm(optimizer.gradients(loss), 10.0)
    copies = dict(zip(target.parameters(), online.parameters(), strict=True))
    return {
        "choose": gc.function([now], online(now).argmax(1)),
        "train_step": gc.function(
            [states, actions, rewards, then, failed], loss, updates=optimizer.updates(gradients) | schedule.step()
        ),
        "sync": gc.function([], [], updates=copies),
    }


choose, train_step, sync = declare(6_000).values()


class Replay:
    """The last `capacity` steps (state, action, reward, next state, failed), to be drawn from again and again."""

    def __init__(self, capacity: int) -> None:
        self.states, self.then = np.zeros((2, capacity, STATES), np.float32)
        self.actions, self.rewards = np.zeros(capacity, np.int64), np.zeros(capacity, np.float32)
        self.failed = np.zeros(capacity, bool)
        self.capacity, self.added = capacity, 0

    def add(self, *steps: np.ndarray) -> None:
        """Steps of several poles, in the place of the oldest."""
        count = len(steps[0])
        places = np.arange(self.added, self.added + count) % self.capacity
        for field, values in zip(self._fields(), steps, strict=True):
            field[places] = values
        self.added += count

    def draw(self, count: int, random: np.random.Generator) -> list[np.ndarray]:
        """`count` steps, each any of those that are here."""
        chosen = random.integers(0, min(self.added, self.capacity), count)
        return [field[chosen] for field in self._fields()]

    def _fields(self) -> tuple[np.ndarray, ...]:
        return self.states, self.actions, self.rewards, self.then, self.failed


def run(epochs: int = 24, seed: int = 0, quiet: bool = True) -> Result:
    """Learn for `epochs` rounds of ROUND steps of every pole; then balance new poles without exploring."""
    program = gc.compile(**declare(epochs * ROUND, seed), name="dqn", threads=1)  # more would wait for each other
    random = np.random.default_rng(seed)
    poles, replay = CartPoles(POLES, seed), Replay(CAPACITY)
    lengths: list[float] = []
    for epoch in track(range(epochs), "training", disable=quiet, transient=True):
        ended: list[int] = []
        for t in range(epoch * ROUND, (epoch + 1) * ROUND):
            explore = max(EXPLORE, 1 - t / (epochs * ROUND / 4))
            states = poles.states
            actions = np.where(random.random(POLES) < explore, random.integers(0, ACTIONS, POLES), program.choose(states))
            step = poles.step(actions)
            replay.add(states, actions, -1.0 * step.failed, step.states, step.failed)
            done = step.failed | step.late
            ended += poles.steps[done].tolist()
            poles.reset(done)
            if t % SYNC_EVERY == 0:
                program.sync()
            program.train_step(*replay.draw(BATCH, random))
        lengths.append(float(np.mean(ended)) if ended else float(poles.steps.mean()))
    return Result(lengths, mean_length(program.choose, POLES, seed + 1), program)


@click.command()
@options(24, f"Rounds of {ROUND} steps of every pole.")
def main(epochs: int, seed: int, plot_file: Path | None, quiet: bool) -> None:
    """Learn to balance poles by Q-learning."""
    result = run(epochs, seed, quiet)
    click.echo(f"DQN: {result.length:.0f} steps of {STEPS} in balance; {result.lengths[0]:.0f} at first")
    if plot_file:
        plot({"DQN": result.lengths}, plot_file, "mean length of an episode")


if __name__ == "__main__":
    main()
