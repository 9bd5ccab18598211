"""Every example runs, and reaches what it promises on digits that it was not trained on."""

from __future__ import annotations

import re

import digits_mlp
import hands_on
import lenet
import numpy as np
import overview
import own_network
import pytest
from click.testing import CliRunner
from training import accuracy

import graphc as gc
from graphc import nn
from graphc.errors import ShapeError


def falls(losses: list[float]) -> bool:
    return bool(np.isfinite(losses).all()) and losses[-1] < losses[0]


def test_the_digits_mlp_learns() -> None:
    result = digits_mlp.run()
    assert result.accuracy >= 0.95
    assert falls(result.losses) and len(result.losses) == 40 and len(result.steps) == 40 * 22


def test_lenet_learns() -> None:
    result = lenet.run()
    assert result.accuracy >= 0.97
    assert falls(result.losses)
    assert float(result.program.state["lr"]) == pytest.approx(lenet.Choices.lr / 10)


@pytest.mark.parametrize(
    "choices",
    [
        lenet.Choices(momentum=0.0, lr=0.1),
        lenet.Choices(batch_norm=True, dropout=0.2),
        lenet.Choices(l1=1e-5, l2=1e-4),
    ],
)
def test_lenet_variations_learn(choices: lenet.Choices) -> None:
    result = lenet.run(choices, epochs=4)
    assert falls(result.losses) and result.losses[-1] < 1.0
    assert ("norm1.running_mean" in result.program.state) == choices.batch_norm


def test_gradients_by_hand() -> None:
    assert hands_on.gradients() == {"f": 18.0, "dx": 12.0, "dy": 9.0, "dxdx": 4.0}


def test_hands_on_learns_from_a_data_set_of_its_own() -> None:
    image, label = hands_on.Handwriting(train=False)[0]
    assert image.shape == (1, 28, 28) and image.dtype == np.float32 and 0 <= label <= 9
    result = hands_on.run()
    assert result.accuracy >= 0.95 and falls(result.losses)


@pytest.mark.parametrize(
    ("choices", "epochs", "wanted"),
    [
        (own_network.Choices(), 30, 0.95),
        (own_network.Choices("tanh", "mse", l2=1e-3), 8, 0.85),
        (own_network.Choices("sigmoid", lr=0.1), 8, 0.85),
    ],
)
def test_a_network_from_formulas_learns(choices: own_network.Choices, epochs: int, wanted: float) -> None:
    result = own_network.run(choices, epochs)
    assert result.accuracy >= wanted and falls(result.losses)
    assert result.extra["training_accuracy"] >= wanted


def test_the_penalty_keeps_weights_small() -> None:
    with_it, without = (own_network.run(own_network.Choices(l2=weight), epochs=2) for weight in (0.1, 0.0))
    assert abs(with_it.program.state["W1"]).sum() < 0.9 * abs(without.program.state["W1"]).sum()


def test_the_tour_computes_what_numpy_does() -> None:
    a, b = np.array([[1, 2], [3, 4]], np.float32), np.array([[2, 0.5], [1, 4]], np.float32)
    expected = {"sum": a + b, "difference": a - b, "product": a * b, "quotient": a / b, "matrix_product": a @ b}
    got = overview.arithmetic()
    assert set(got) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value)
    seen = overview.convolution_and_pooling()
    assert seen["edges"].tolist() == [[[[0, 0, 1]] * 4]]
    assert seen["largest"].tolist() == [[[[0, 1]] * 2]] and seen["mean"].tolist() == [[[[0, 0.5]] * 2]]


@pytest.mark.parametrize("network", [overview.Regressor, overview.TwoConvolutions])
def test_networks_fit_random_pictures(network: type[nn.Module]) -> None:
    gc.manual_seed(0)
    losses = overview.fit_noise(network(), steps=10, batch=8)
    assert falls(losses)


def test_the_tour_ends_with_a_trained_and_restored_network() -> None:
    result = overview.run()
    assert result.accuracy >= 0.95 and falls(result.losses)
    assert result.extra["restored"] == result.accuracy


def test_the_tour_says_what_pruning_and_quantisation_cost() -> None:
    done = CliRunner().invoke(overview.main, ["--optimizer", "sgd", "--epochs", "3", "--quiet"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("sum: [[3.0, 2.5], [4.0, 8.0]]\n")
    accuracies = [float(text) for text in re.findall(r"accuracy [a-z0-9 ]* ([\d.]+)[;\n]", done.output)]
    assert len(accuracies) == 3 and min(accuracies) >= 0.8
    before, after = re.findall(r"(\d+) bytes, now (\d+)\n", done.output)[0]
    assert int(after) < 0.3 * int(before)


def test_a_trained_network_survives_pruning_and_quantisation() -> None:
    result = overview.run(epochs=4)
    net, test = overview.pruned(result.program, 0.5), overview.digits(False)
    state, before = net.state_dict(), result.program.state
    weights = [name for name in state if name.endswith(".weight")]
    assert sum((state[name] == 0).sum() for name in weights) == round(0.5 * sum(state[name].size for name in weights))
    assert all(((state[name] == before[name]) | (state[name] == 0)).all() for name in weights)
    assert all((state[name] == before[name]).all() for name in state if name not in weights)
    small = overview.predictor(gc.quantization.quantize_dynamic(net, {nn.Linear}, dtype=gc.int8))
    assert {name for name, array in small.state.items() if array.dtype == np.int8} == {"fc1.weight", "fc2.weight"}
    accuracies = [accuracy(program, test, overview.BATCH) for program in (overview.predictor(net), small)]
    assert min(accuracies) > result.accuracy - 0.03


def test_a_linear_layer_that_does_not_fit_names_the_line_and_both_sizes() -> None:
    class DoesNotFit(overview.Regressor):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(32 * 14 * 14, 10)

    with pytest.raises(ShapeError) as caught:
        overview.fit_noise(DoesNotFit())
    assert "overview.py" in str(caught.value)
    assert "7200" in str(caught.value) and "6272" in str(caught.value)


@pytest.mark.parametrize("command", [digits_mlp.main, own_network.main])
def test_commands_print_accuracy_and_plot(command, tmp_path) -> None:
    done = CliRunner().invoke(command, ["--epochs", "2", "--seed", "3", "--plot", str(tmp_path / "loss.png")])
    assert done.exit_code == 0, done.output
    assert "epoch   2  loss" in done.output and "accuracy on the test digits" in done.output
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_quiet_is_quiet() -> None:
    done = CliRunner().invoke(digits_mlp.main, ["--epochs", "1", "--quiet"])
    assert done.output.count("\n") == 1 and done.output.startswith("MLP: accuracy")


def test_seeds_give_the_same_run_again_and_different_ones_do_not() -> None:
    first, again, other = (digits_mlp.run(epochs=1, seed=seed).steps for seed in (5, 5, 6))
    assert first == again != other
