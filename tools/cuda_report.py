"""What the kernels of standard networks are like on a GPU, found without one: blocks, registers, use of memory.

python tools/cuda_report.py                            all networks of MODELS
python tools/cuda_report.py resnet18_train --worst 20  more of the kernels that move most for nothing
python tools/cuda_report.py gpt mlp_train --arch sm_80

Prints for each network how much of what its warps move they asked for (coalescing.py), and the kernels that waste most. With
nvcc it compiles the source, and exits with 1 where a kernel does not keep everything in registers (`-Xptxas -v`).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
from benchmark import with_graphc
from benchmark.workloads import WORKLOADS
from coalescing import Traffic, total, traffic
from rich.console import Console
from rich.table import Table

from graphc.codegen.cuda.map import map_launches
from graphc.codegen.cuda.roles import Mapped
from graphc.codegen.cuda.target import gpu
from graphc.codegen.cuda.words import says
from graphc.codegen.expand import expand_kernel
from graphc.codegen.fingerprint import fingerprint
from graphc.driver import Stages

MODELS = ("mlp_b64", "lenet_b64", "resnet18_b8", "gpt", "mlp_train", "lenet_train", "resnet18_train", "gpt_train")
_SPILLS = r"entry function '(\S+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"


@dataclass
class Row:
    """A kernel, how often it is launched, and what that moves."""

    mapped: Mapped
    comment: str
    times: int
    found: dict[tuple[str, str], Traffic]

    @property
    def all(self) -> Traffic:
        one = total(self.found)
        return Traffic(self.times * one.asked, self.times * one.moved)


def stages(model: str, arch: str) -> Stages:
    """A workload on its way to a GPU."""
    workload = WORKLOADS[model]
    return Stages({"run": with_graphc.declare(workload, with_graphc.build(workload))}, arch, 0, model)


def rows(model: Stages) -> list[Row]:
    """The kernels, each once."""
    found: dict[str, list[Row]] = {}
    for launch in model.planned.functions[0].launches:
        key = fingerprint(launch.kernel)
        for row in found.get(key, ()):
            row.times += 1
        if key not in found:
            parts = map_launches(expand_kernel(launch.kernel, says), gpu(model.target))
            found[key] = [Row(part, launch.comment, 1, traffic(part)) for part in parts]
    return [row for parts in found.values() for row in parts]


def spilling(source: str, arch: str) -> list[str]:
    """The kernels of a source that do not fit in registers, as ptxas says it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.cu")
        path.write_text(source)
        options = ["-std=c++17", "-O3", "-fmad=false", f"-arch={arch}", "-Xptxas", "-v", "-c", "-o", f"{folder}/net.o"]
        done = subprocess.run(["nvcc", *options, str(path)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[:4000]
    found = re.findall(_SPILLS, done.stderr, re.DOTALL)
    return [f"{name}: {sizes[0]} bytes of stack, {sizes[1]} spilled" for name, *sizes in found if set(sizes) != {"0"}]


def table(model: str, found: list[Row], worst: int) -> Table:
    every = Traffic(sum(row.all.asked for row in found), sum(row.all.moved for row in found))
    title = f"{model}: {every.share:.0%} of {every.moved / 1e6:.0f} MB in sectors were asked for"
    result = Table("kernel", "times", "blocks", "asked", "MB moved", "worst accesses", title=title)
    for row in sorted(found, key=lambda row: row.all.asked - row.all.moved)[:worst]:
        arrays = sorted(row.found.items(), key=lambda item: item[1].asked - item[1].moved)
        said = ", ".join(f"{how} {name} {one.share:.0%}" for (name, how), one in arrays[:2])
        blocks = f"{row.mapped.grid} x {row.mapped.block}"
        name = f"{row.mapped.kernel.name} ({row.comment[:30]})"
        result.add_row(name, str(row.times), blocks, f"{row.all.share:.0%}", f"{row.all.moved / 1e6:.1f}", said)
    return result


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("models", nargs=-1, type=click.Choice(list(WORKLOADS)))
@click.option("--arch", default="sm_90", show_default=True)
@click.option("--worst", default=5, show_default=True, help="How many kernels of each network are shown.")
def main(models: tuple[str, ...], arch: str, worst: int) -> None:
    """Say what the kernels of networks are like."""
    console, wrong = Console(width=None if sys.stdout.isatty() else 160), 0
    for model in models or MODELS:
        made = stages(model, arch)
        console.print(table(model, rows(made), worst))
        if shutil.which("nvcc"):
            spills = spilling(made.compilation.emit("cu").decode(), arch)
            wrong += len(spills)
            console.print("\n".join(spills) or "all kernels keep their arrays in registers", highlight=False)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
