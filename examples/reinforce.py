"""REINFORCE (Williams 1992, https://doi.org/10.1007/BF00992696) balances poles.

A policy network draws pushes inside the program; after an episode of each pole, one compiled step does all the rest: discounted
returns, their normalisation (the baseline), the log-likelihood of what was done, its gradient, clipping and Adam. Episodes are
of different lengths and shapes are static, so all are recorded as 500 steps, of which a mask says which were lived through.

    python examples/reinforce.py
    graphc compile examples/reinforce.py --name reinforce -o out    to learn from C
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from cartpole import ACTIONS, STATES, STEPS, CartPoles, Result, mean_length
from rich.progress import track
from training import options, plot

import graphc as gc
from graphc import nn, optim
from graphc.runtime.program import Program

POLES, WIDTH, GAMMA, LR = 16, 32, 0.99, 1e-2
F = nn.functional


def declare(seed: int = 0) -> tuple[gc.Function, gc.Function, gc.Function]:
    """act draws a push for each pole, choose takes the likeliest, train_step learns from an episode of each."""
    gc.manual_seed(seed)
    net = nn.Sequential(nn.Linear(STATES, WIDTH), nn.Tanh(), nn.Linear(WIDTH, ACTIONS))
    now = gc.placeholder((POLES, STATES), gc.float32, name="now")
    states = gc.placeholder((STEPS, POLES, STATES), gc.float32, name="states")
    actions = gc.placeholder((STEPS, POLES), gc.int64, name="actions")
    rewards = gc.placeholder((STEPS, POLES), gc.float32, name="rewards")
    lived = gc.placeholder((STEPS, POLES), gc.float32, name="lived")
    returns = normalised(discounts() @ (rewards * lived), lived)
    taken = F.cross_entropy(net(states).flatten(0, 1), actions.flatten(), reduction="none").reshape(STEPS, POLES)
    loss = (taken * returns).sum() / lived.sum()  # cross entropy is minus the log-likelihood
    optimizer = optim.Adam(net.parameters(), LR)
    gradients = nn.utils.clip_grad_norm(optimizer.gradients(loss), 1.0)
    return (
        gc.function([now], gc.multinomial(gc.softmax(net(now), -1), 1).squeeze(-1)),
        gc.function([now], net(now).argmax(-1)),
        gc.function([states, actions, rewards, lived], loss, updates=optimizer.updates(gradients)),
    )


def discounts() -> gc.Tensor:
    """The matrix whose product with rewards (STEPS, ...) is their discounted sum from each step on."""
    ahead = np.arange(STEPS) - np.arange(STEPS)[:, None]
    return gc.constant(np.triu(GAMMA ** np.maximum(ahead, 0)).astype(np.float32))


def normalised(returns: gc.Tensor, lived: gc.Tensor) -> gc.Tensor:
    """Mean 0 and standard deviation 1 over the steps that were lived through; 0 at the others."""
    away = (returns - (returns * lived).sum() / lived.sum()) * lived
    return away / ((away**2).sum() / lived.sum() + 1e-8).sqrt()


act, choose, train_step = declare()


def episodes(program: Program, seed: int) -> tuple[np.ndarray, ...]:
    """states, actions, rewards, lived of an episode of each pole, as train_step takes them."""
    poles, going = CartPoles(POLES, seed), np.ones(POLES, bool)
    states = np.zeros((STEPS, POLES, STATES), np.float32)
    actions = np.zeros((STEPS, POLES), np.int64)
    rewards, lived = np.zeros((2, STEPS, POLES), np.float32)
    for t in range(STEPS):
        states[t], lived[t] = poles.states, going
        actions[t] = program.act(states[t])
        done = poles.step(actions[t])
        rewards[t] = done.rewards
        going &= ~done.failed
        if not going.any():
            break
    return states, actions, rewards, lived


def run(epochs: int = 60, seed: int = 0, quiet: bool = True) -> Result:
    """Learn from `epochs` times POLES episodes; then balance new poles with the likeliest pushes."""
    program = gc.compile(
        **dict(zip(("act", "choose", "train_step"), declare(seed), strict=True)), name="reinforce", seed=seed, threads=1
    )
    seeds = np.random.default_rng(seed).integers(0, 2**32, epochs + 1).tolist()
    lengths = []
    for start in track(seeds[1:], "training", disable=quiet, transient=True):
        episode = episodes(program, start)
        lengths.append(float(episode[-1].sum(0).mean()))
        program.train_step(*episode)
    return Result(lengths, mean_length(program.choose, POLES, seeds[0]), program)


@click.command()
@options(60, "Updates, each after an episode of every pole.")
def main(epochs: int, seed: int, plot_file: Path | None, quiet: bool) -> None:
    """Learn to balance poles by policy gradients."""
    result = run(epochs, seed, quiet)
    click.echo(f"REINFORCE: {result.length:.0f} steps of {STEPS} in balance; {result.lengths[0]:.0f} at first")
    if plot_file:
        plot({"REINFORCE": result.lengths}, plot_file, "mean length of an episode")


if __name__ == "__main__":
    main()
