"""The examples that read sequences: each reaches what it promises on data that it was not trained on."""

from __future__ import annotations

import char_gpt
import numpy as np
import pytest
import sequence
import transformer
from click.testing import CliRunner

import graphc as gc
from graphc.nn.module import StateError
from graphc.runtime.program import Program

CELLS = sorted(sequence.CELLS)


@pytest.mark.parametrize("cell", CELLS)
def test_rows_of_digits_are_read(cell: str) -> None:
    result = sequence.run(cell)
    assert result.accuracy >= 0.95
    assert np.isfinite(result.steps).all() and result.losses[-1] < 0.1 < result.losses[0]


@pytest.mark.parametrize("cell", CELLS)
def test_training_goes_on_from_weights_on_disk(cell: str, tmp_path) -> None:
    trained = sequence.run(cell, epochs=2)
    weights = {name: trained.program.state[name] for name in sequence.RowReader(cell).state_dict()}
    path = tmp_path / "net.safetensors"
    gc.save_state(weights, path)
    assert sequence.run(cell, epochs=1, weights=path).losses[0] < 0.8 * trained.losses[0]
    other = CELLS[1 - CELLS.index(cell)]
    with pytest.raises(gc.GraphcError, match=r"rnn\.weight_ih_l0 has shape"):
        sequence.declare(other, weights=path)
    del weights["fc.bias"]
    gc.save_state(weights, path)
    with pytest.raises(StateError, match=r"missing: fc\.bias"):
        sequence.declare(cell, weights=path)


def test_the_command_prints_the_accuracy_and_plots(tmp_path) -> None:
    done = CliRunner().invoke(sequence.main, ["--cell", "gru", "--epochs", "2", "--plot", str(tmp_path / "loss.png")])
    assert done.exit_code == 0, done.output
    assert "epoch   2  loss" in done.output and "GRU: accuracy on the test digits" in done.output
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------------------------------ characters

TINY = char_gpt.Sizes(context=12, width=16, heads=2, layers=1)
TEXT = "".join(f"{i} times {i} is {i * i}. " for i in range(600))


def test_the_gpt_learns_more_than_pairs_of_characters() -> None:
    result = char_gpt.run(char_gpt.help_texts(), epochs=1)
    assert result.extra["held_out"][-1] < result.extra["bigram"] - 0.05
    assert result.accuracy > 0.4
    vocabulary = len(result.extra["characters"])
    tied = {name for name, array in result.program.state.items() if vocabulary in array.shape}
    assert {name.split(".")[0] for name in tied} == {"characters"}


def test_bigram_entropy_is_that_of_pairs_in_the_same_text() -> None:
    assert char_gpt.bigram_entropy("abababab") == 0
    assert char_gpt.bigram_entropy("aabbaabba") == pytest.approx(np.log(2))


def test_help_texts_are_there_even_where_the_topics_are_not(monkeypatch) -> None:
    assert len(char_gpt.help_texts()) > 20000
    monkeypatch.setattr(char_gpt, "topics", {})
    builtin = char_gpt.help_texts()
    assert len(builtin) > 20000 and "Return" in builtin


def test_a_stopped_gpt_goes_on_to_the_same_bits(tmp_path, monkeypatch) -> None:
    whole = char_gpt.run(TEXT, 2, sizes=TINY)
    checkpoint = tmp_path / "run.safetensors"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(char_gpt, "measured", _stop)
        char_gpt.run(TEXT, 2, sizes=TINY, checkpoint=checkpoint)
    meta = gc.train.load_checkpoint(checkpoint).meta
    assert meta["epoch"] == 0 and meta["seen"] > 0
    resumed = char_gpt.run(TEXT, 2, sizes=TINY, checkpoint=checkpoint)
    assert resumed.losses == whole.losses and resumed.extra == whole.extra
    for name, array in whole.program.state.items():
        np.testing.assert_array_equal(resumed.program.state[name], array, err_msg=name)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def tiny() -> Program:
    return gc.compile(**char_gpt.declare(7, 10, TINY))


def test_no_character_sees_those_after_it(tiny: Program) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 7, (2, char_gpt.BATCH, TINY.context))
    changed = x.copy()
    changed[:, 5:] = (changed[:, 5:] + 1) % 7
    before, after = tiny.measure(x, y)[0], tiny.measure(changed, y)[0]
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).all()


def test_samples_are_of_the_likeliest_and_follow_the_temperature(tiny: Program) -> None:
    tiny.state["characters.weight"][...] = np.random.default_rng(1).normal(0, 1, (7, TINY.width))
    codes, last = np.arange(TINY.context)[None] % 7, np.int64(4)
    later = codes.copy()
    later[0, 5:] = 0

    def draw(temperature: float, top_k: int, codes: np.ndarray = codes) -> np.ndarray:
        drawn = [tiny.sample(codes, last, np.float32(temperature), np.int64(top_k)) for _ in range(300)]
        return np.bincount(drawn, minlength=7)

    (first,) = np.flatnonzero(draw(9.0, 1))
    assert draw(9.0, 1, later)[first] == 300  # what comes after `last` does not count
    assert draw(1e-3, 7)[first] == 300
    assert (draw(30.0, 3) > 0).sum() == 3 and (draw(30.0, 7) > 0).all()


def test_the_command_writes(tmp_path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    arguments = ["--text", str(path), "--epochs", "1", "--length", "9", "--plot", str(tmp_path / "loss.svg")]
    done = CliRunner().invoke(char_gpt.main, [*arguments, "--prompt", "10 times"])
    assert done.exit_code == 0, done.output
    assert "held-out loss" in done.output and "\n10 times" in done.output
    assert (tmp_path / "loss.svg").exists()
    done = CliRunner().invoke(char_gpt.main, [*arguments, "--prompt", "What?"])
    assert done.exit_code == 2 and "--prompt" in done.output
    path.write_text("short")
    done = CliRunner().invoke(char_gpt.main, [*arguments, "--prompt", "s"])
    assert "too few" in str(done.exception)


# ---------------------------------------------------------------------------------------------------------------- patches


def test_a_transformer_encoder_reads_patches_of_digits() -> None:
    result = transformer.run()
    assert result.accuracy >= 0.93
    assert np.isfinite(result.steps).all() and result.losses[-1] < 0.25 < result.losses[0]


def test_patches_are_squares_of_pixels() -> None:
    x = gc.placeholder((2, 1, 8, 8), gc.float32, name="x")
    images = np.arange(128, dtype=np.float32).reshape(2, 1, 8, 8)
    cut = gc.compile(cut=gc.function([x], transformer.patches(x))).cut(images)
    assert cut.shape == (2, 16, 4)
    np.testing.assert_array_equal(cut[1, 6].reshape(2, 2), images[1, 0, 2:4, 4:6])
