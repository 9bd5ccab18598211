"""The examples that learn to balance poles: the physics, what is particular to each, and how long they balance in the end."""

from __future__ import annotations

import cartpole
import dqn
import numpy as np
import pytest
import reinforce
from click.testing import CliRunner

import graphc as gc

# ----------------------------------------------------------------------------------------------------------------- poles


def test_a_push_at_rest_by_hand() -> None:
    """10 N on 1.1 kg; the pole, seen from the cart, falls the other way: 10/1.1 / (0.5 (4/3 - 0.1/1.1)) = 600/41 rad/s^2."""
    once = cartpole.after(np.zeros((2, 4)), np.array([10.0, -10.0]))
    right = np.array([0, 0.02 * 400 / 41, 0, -0.02 * 600 / 41])
    np.testing.assert_allclose(once, [right, -right], rtol=1e-12)
    np.testing.assert_allclose(cartpole.after(once, np.zeros(2))[:, [0, 2]], 0.02 * once[:, [1, 3]], rtol=1e-12)


def test_accelerations_solve_the_equations_of_motion() -> None:
    """Lagrange's equations of cart and pole, before one is put into the other."""
    states = np.random.default_rng(0).normal(0, 0.5, (7, 4))
    for (place, speed, angle, turning), after in zip(states, cartpole.after(states, np.full(7, 10.0)), strict=True):
        inertia = [[1.1, 0.05 * np.cos(angle)], [0.05 * np.cos(angle), 0.1 * 0.25 * 4 / 3]]
        forces = [10 + 0.05 * turning**2 * np.sin(angle), 0.05 * 9.8 * np.sin(angle)]
        acceleration, turn = np.linalg.solve(inertia, forces)
        expected = [place + 0.02 * speed, speed + 0.02 * acceleration, angle + 0.02 * turning, turning + 0.02 * turn]
        np.testing.assert_allclose(after, expected, rtol=1e-12)


def test_episodes_end_far_out_leaning_or_late() -> None:
    poles = cartpole.CartPoles(5)
    poles.exact[:] = 0
    poles.exact[0, :2], poles.exact[1, :2] = (-2.399, -1), (-2.399, 0.5)
    poles.exact[2, 2:], poles.exact[3, 2:] = (np.radians(11.9), 1), (np.radians(11.9), -1)
    poles.steps[4] = 499
    step = poles.step(np.zeros(5, int))
    assert step.failed.tolist() == [True, False, True, False, False]
    assert step.late.tolist() == [False, False, False, False, True]
    assert step.rewards.tolist() == [1] * 5 and step.states.dtype == np.float32
    before = poles.states
    states = poles.reset(step.failed)
    assert (np.abs(states[[0, 2]]) <= 0.05).all() and poles.steps.tolist() == [0, 1, 0, 1, 500]
    np.testing.assert_array_equal(states[[1, 3, 4]], before[[1, 3, 4]])


def test_a_constant_push_fails_soon_and_the_mean_is_of_first_episodes() -> None:
    assert 8 <= cartpole.mean_length(lambda states: np.ones(len(states)), 50, seed=1) <= 11
    leaning = cartpole.mean_length(lambda states: states[:, 2] > 0, 50, seed=1)
    assert 25 < leaning < 70


# ------------------------------------------------------------------------------------------------------------- reinforce


def test_reinforce_balances_poles() -> None:
    result = reinforce.run()
    assert result.length >= 400 and result.lengths[0] < 50 and len(result.lengths) == 60
    again = reinforce.run(epochs=2)
    assert again.lengths == result.lengths[:2]


def test_returns_are_discounted_and_normalised_over_what_was_lived(monkeypatch) -> None:
    monkeypatch.setattr(reinforce, "STEPS", 5)
    lived = np.array([[1, 1], [1, 1], [1, 0], [1, 0], [0, 0]], np.float32)
    rewards = np.random.default_rng(0).normal(0, 1, lived.shape).astype(np.float32)
    r, m = gc.placeholder((5, 2), name="r"), gc.placeholder((5, 2), name="m")
    returns = reinforce.discounts() @ (r * m)
    both = gc.compile(both=gc.function([r, m], (returns, reinforce.normalised(returns, m)))).both
    found, normal = both(rewards, lived)
    expected, after = np.zeros((5, 2)), np.zeros(2)
    for t in reversed(range(5)):
        after = expected[t] = rewards[t] * lived[t] + 0.99 * after
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    chosen = expected[lived > 0]
    np.testing.assert_allclose(normal[lived > 0], (chosen - chosen.mean()) / chosen.std(), rtol=1e-4, atol=1e-5)
    assert (normal[lived == 0] == 0).all()


# ------------------------------------------------------------------------------------------------------------------- dqn


def test_the_q_network_balances_poles() -> None:
    result = dqn.run()
    assert result.length >= 400 and result.lengths[0] < 50 and len(result.lengths) == 24


def test_sync_copies_the_network_and_only_then_the_target_changes() -> None:
    program = gc.compile(**dqn.declare(10))
    names = [name.removeprefix("target.") for name in program.state if name.startswith("target.")]
    assert len(names) == 6

    def same() -> list[bool]:
        return [np.array_equal(program.state[f"online.{name}"], program.state[f"target.{name}"]) for name in names]

    assert not any(same())
    program.sync()
    assert all(same())
    batch, rng = dqn.BATCH, np.random.default_rng(0)
    states, then = rng.normal(0, 1, (2, batch, 4)).astype(np.float32)
    kept = {name: program.state[f"target.{name}"].copy() for name in names}
    program.train_step(states, np.arange(batch) % 2, -np.ones(batch, np.float32), then, np.zeros(batch, bool))
    assert not any(same())
    assert all(np.array_equal(program.state[f"target.{name}"], kept[name]) for name in names)


def test_targets_are_what_the_target_network_says_of_the_pushes_that_the_first_one_chooses() -> None:
    program = gc.compile(**dqn.declare(10))
    batch, rng = dqn.BATCH, np.random.default_rng(0)
    states, then = rng.normal(0, 1, (2, batch, 4)).astype(np.float32)
    actions, rewards, failed = rng.integers(0, 2, batch), rng.normal(0, 2, batch).astype(np.float32), rng.random(batch) < 0.5

    def values(name: str, x: np.ndarray) -> np.ndarray:
        x = x / [2.4, 2, np.radians(12), 2]
        for layer in (1, 3):
            x = np.maximum(x @ program.state[f"{name}.{layer}.weight"].T + program.state[f"{name}.{layer}.bias"], 0)
        return x @ program.state[f"{name}.5.weight"].T + program.state[f"{name}.5.bias"]

    rows = np.arange(batch)
    best = values("online", then).argmax(1)
    away = values("online", states)[rows, actions] - rewards - 0.99 * ~failed * values("target", then)[rows, best]
    huber = np.where(np.abs(away) < 1, away**2 / 2, np.abs(away) - 0.5)
    assert program.train_step(states, actions, rewards, then, failed) == pytest.approx(huber.mean(), rel=1e-4)


def test_the_oldest_steps_are_forgotten() -> None:
    replay, random = dqn.Replay(5), np.random.default_rng(0)
    for first in (0, 3):
        numbers = np.arange(first, first + 3)
        replay.add(np.tile(numbers[:, None], 4), numbers % 2, numbers, np.tile(numbers[:, None] + 1, 4), numbers == 4)
        states, actions, rewards, then, failed = replay.draw(100, random)
        assert set(rewards) == ({0, 1, 2} if first == 0 else {1, 2, 3, 4, 5})
        np.testing.assert_array_equal(states, np.tile(rewards[:, None], 4))
        np.testing.assert_array_equal(then, states + 1)
        np.testing.assert_array_equal(actions, rewards % 2)
        np.testing.assert_array_equal(failed, rewards == 4)


@pytest.mark.parametrize("example, name", [(reinforce, "REINFORCE"), (dqn, "DQN")])
def test_the_commands_print_the_length_and_plot(example, name: str, tmp_path) -> None:
    done = CliRunner().invoke(example.main, ["--epochs", "2", "--quiet", "--plot", str(tmp_path / "length.png")])
    assert done.exit_code == 0, done.output
    assert f"{name}: " in done.output and "of 500 in balance" in done.output
    assert (tmp_path / "length.png").read_bytes().startswith(b"\x89PNG")
