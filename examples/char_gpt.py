"""A GPT that writes one character after the other, and learns from the help texts that come with Python.

Blocks of causal self-attention and a feed-forward layer, learned positions, an output layer tied to the embedding (Radford et
al. 2019); AdamW with warm-up and cosine decay, gradients clipped. The loss on text held out is printed beside the entropy of
*that* text under its own pairs of characters: no bigram model does better there, not even one that has seen it.

    python examples/char_gpt.py --prompt "The class " --temperature 0.5
    python examples/char_gpt.py --text novel.txt --epochs 20 --checkpoint novel.safetensors     again, to go on after a stop
"""

from __future__ import annotations

import builtins
import inspect
import math
from collections import Counter
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import click
import numpy as np
from training import Result, options, plot

import graphc as gc
from graphc import data, nn, optim
from graphc.runtime.program import Program

try:
    from pydoc_data.topics import topics
except ImportError:  # some installations leave it out
    topics = {}

F = nn.functional
BATCH, LR, WARMUP, CHECKPOINT_EVERY = 8, 3e-3, 40, 50


@dataclass(frozen=True)
class Sizes:
    """How many characters are seen at once; how wide and how deep the network is."""

    context: int = 64
    width: int = 64
    heads: int = 4
    layers: int = 2


class Block(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, self.heads = sizes.width, sizes.heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        heads = self.attend(self.norm1(x)).unflatten(-1, (3, self.heads, -1))  # (N, L, 3, heads, width of a head)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.project(seen.transpose(1, 2).flatten(2))
        return x + self.feed(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, vocabulary: int, sizes: Sizes) -> None:
        super().__init__()
        self.characters = nn.Embedding(vocabulary, sizes.width)
        self.positions = nn.Embedding(sizes.context, sizes.width)
        self.blocks = nn.Sequential(*(Block(sizes) for _ in range(sizes.layers)))
        self.norm = nn.LayerNorm(sizes.width)
        self.apply(start_small)

    def forward(self, codes: gc.Tensor) -> gc.Tensor:
        """Scores (N, L, vocabulary) of what follows each of the characters (N, L)."""
        x = self.characters(codes) + self.positions.weight
        return F.linear(self.norm(self.blocks(x)), self.characters.weight)


def start_small(module: nn.Module) -> None:
    """GPT-2's initial values: normal with a standard deviation of 0.02, no bias."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def declare(vocabulary: int, steps: int, sizes: Sizes = Sizes(), seed: int = 0) -> dict[str, gc.Function]:
    """train_step, measure (loss and rightness of each character) and sample (a next character), over one set of weights."""
    gc.manual_seed(seed)
    net = GPT(vocabulary, sizes)
    x = gc.placeholder((BATCH, sizes.context), gc.int64, name="x")
    y = gc.placeholder((BATCH, sizes.context), gc.int64, name="y")
    scores = net(x)
    losses = F.cross_entropy(scores.transpose(1, 2), y, reduction="none")
    optimizer = optim.AdamW(net.parameters(), LR, weight_decay=0.1)
    schedule = warmup_cosine(optimizer, steps)
    gradients = nn.utils.clip_grad_norm(optimizer.gradients(losses.mean()), 1.0)
    return {
        "train_step": gc.function([x, y], losses.mean(), updates=optimizer.updates(gradients) | schedule.step()),
        "measure": gc.function([x, y], (losses, scores.argmax(-1) == y)),
        "sample": sampler(net, sizes.context),
    }


def warmup_cosine(optimizer: optim.Optimizer, steps: int) -> optim.lr_scheduler.LRScheduler:
    """Up to LR in WARMUP steps, and down half a cosine to a tenth of it at the last of `steps`."""
    up = optim.lr_scheduler.LinearLR(optimizer, 1 / WARMUP, total_iters=WARMUP)
    down = optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps - WARMUP), LR / 10)
    return optim.lr_scheduler.SequentialLR(optimizer, [up, down], [WARMUP])


def sampler(net: GPT, context: int) -> gc.Function:
    """The character after codes[0, last], one of the `top_k` likeliest; a low temperature prefers the first of them."""
    codes = gc.placeholder((1, context), gc.int64, name="codes")
    last = gc.placeholder((), gc.int64, name="last")
    temperature = gc.placeholder((), gc.float32, name="temperature")
    top_k = gc.placeholder((), gc.int64, name="top_k")
    scores = net(codes)[0, last]
    scores = gc.where(scores < scores.sort(descending=True).values[top_k - 1], -math.inf, scores / temperature)
    gumbel = -(-gc.rand(scores.shape).clamp(min=1e-30).log()).log()  # the largest sum with it is a draw from the softmax
    return gc.function([codes, last, temperature, top_k], (scores + gumbel).argmax())


# ------------------------------------------------------------------------------------------------------------- the text


def help_texts() -> str:
    """What `help()` says of the language, or at least of the built-in types."""
    if topics:
        return "\n".join(topics.values())
    types = [kind for kind in vars(builtins).values() if isinstance(kind, type)]
    documented = chain(types, *(vars(kind).values() for kind in types))
    return "\n\n".join(dict.fromkeys(filter(None, map(inspect.getdoc, documented))))


def encode(text: str, characters: str) -> np.ndarray:
    """The place of each character of the text among `characters`."""
    numbers = {character: i for i, character in enumerate(characters)}
    return np.array([numbers[character] for character in text], np.int64)


def windows(codes: np.ndarray, context: int) -> data.TensorDataset:
    """Samples of `context` characters, and those that follow them."""
    if len(codes) <= context:
        raise gc.GraphcError(f"{len(codes)} characters are too few to learn from; take a longer text, of 100000 or more")
    parts = np.lib.stride_tricks.sliding_window_view(codes, context + 1)[::context]
    return data.TensorDataset(parts[:, :-1], parts[:, 1:])


def bigram_entropy(text: str) -> float:
    """Nats for each character after the first, of a text under the frequencies of its own pairs."""
    pairs, firsts = Counter(pairwise(text)), Counter(text[:-1])
    return -sum(n * math.log(n / firsts[first]) for (first, _), n in pairs.items()) / (len(text) - 1)


# ------------------------------------------------------------------------------------------------------ training, writing


def run(
    text: str,
    epochs: int = 4,
    seed: int = 0,
    quiet: bool = True,
    sizes: Sizes = Sizes(),
    checkpoint: Path | None = None,
) -> Result:
    """Learn nine tenths of the text. extra: held_out (loss on the rest, each epoch), bigram (its entropy), characters."""
    characters = "".join(sorted(set(text)))
    cut = len(text) * 9 // 10
    learn, test = (windows(encode(part, characters), sizes.context) for part in (text[:cut], text[cut:]))
    loader = data.DataLoader(learn, BATCH, shuffle=True, drop_last=True, seed=seed)
    program = gc.compile(**declare(len(characters), epochs * len(loader), sizes, seed), name="char_gpt")
    every = None if checkpoint is None else CHECKPOINT_EVERY
    history = gc.train.fit(
        program,
        loader,
        epochs,
        evaluate=lambda: measured(program, test),
        checkpoint=checkpoint,
        checkpoint_every=every,
        quiet=quiet,
    )
    extra = {"held_out": history["held_out_loss"], "bigram": bigram_entropy(text[cut:]), "characters": characters}
    return Result(history.losses, [], history["held_out_accuracy"][-1], program, extra)


def measured(program: Program, test: data.TensorDataset) -> dict[str, float]:
    """Means over all characters of the held-out text."""
    loader = data.DataLoader(test, BATCH)
    parts = [[values[: loader.valid] for values in program.measure(*batch)] for batch in loader]
    losses, right = (np.concatenate(part) for part in zip(*parts, strict=True))
    return {"held_out_loss": float(losses.mean()), "held_out_accuracy": float(right.mean())}


def write(program: Program, characters: str, prompt: str, length: int, temperature: float = 0.7, top_k: int = 20) -> str:
    """The prompt and `length` characters more, each drawn after those before it."""
    codes = encode(prompt, characters).tolist()
    context = program.sample.signature.inputs[0].shape[1]
    for _ in range(length):
        seen = codes[-context:]
        padded = np.zeros((1, context), np.int64)
        padded[0, : len(seen)] = seen
        last, chosen = np.int64(len(seen) - 1), (np.float32(temperature), np.int64(top_k))
        codes.append(int(program.sample(padded, last, *chosen)))
    return "".join(characters[code] for code in codes)


@click.command()
@options(epochs=4)
@click.option("--text", type=click.Path(exists=True, path_type=Path), help="A text to learn, instead of Python's help.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="File to write while training, and to go on from.")
@click.option("--prompt", default="The ", show_default=True, help="What the written text begins with.")
@click.option("--length", type=click.IntRange(min=0), default=400, show_default=True, help="Characters to write.")
@click.option("--temperature", type=click.FloatRange(0, min_open=True), default=0.7, show_default=True)
@click.option("--top-k", type=click.IntRange(min=1), default=20, show_default=True, help="Draw from so many.")
def main(
    epochs: int,
    seed: int,
    plot_file: Path | None,
    quiet: bool,
    text: Path | None,
    checkpoint: Path | None,
    prompt: str,
    length: int,
    temperature: float,
    top_k: int,
) -> None:
    """Train a small GPT on characters, and let it write."""
    source = text.read_text() if text else help_texts()
    if not prompt or not set(prompt) <= set(source):
        raise click.BadParameter("at least one character is needed, all of them from the text", param_hint="--prompt")
    result = run(source, epochs, seed, quiet, checkpoint=checkpoint)
    held_out, bigram = result.extra["held_out"], result.extra["bigram"]
    click.echo(f"GPT: held-out loss {held_out[-1]:.4f} a character; bigrams cannot get below {bigram:.4f}")
    click.echo(write(result.program, result.extra["characters"], prompt, length, temperature, top_k))
    if plot_file:
        plot({"training": result.losses, "held out": held_out}, plot_file)


if __name__ == "__main__":
    main()
