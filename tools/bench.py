"""graphc beside its peers: one table, one run, each framework in a process of its own.

python tools/bench.py                                              every workload, on 1 and 2 threads
python tools/bench.py --workload 'mlp*' --threads 1 --rounds 9     some, and how
python tools/bench.py --profile --workload lenet_b64               graphc alone, kernel by kernel

Rounds are interleaved, outputs are compared before anything is timed, and a number that is too noisy to be trusted is
marked. Peers that are not installed are left out with a note: pip install 'graphc[peers]'.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from benchmark import machine, report
from benchmark.contest import CLOCKS, FRAMEWORKS, OURS, Contest, Rules, contest, missing
from benchmark.profile import profile
from benchmark.workloads import WORKLOADS, UnknownWorkload, Workload, chosen
from rich.console import Console

_SLOW = "torch_compile"  # takes seconds for each workload, so it must be asked for


def _numbers(context: click.Context, option: click.Parameter, text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise click.BadParameter(f"{text!r}: expected numbers of threads with commas between, such as 1,2")
    return numbers


def _frameworks(context: click.Context, option: click.Parameter, text: str | None) -> list[str]:
    names = [name for name in FRAMEWORKS if name != _SLOW] if text is None else text.split(",")
    for name in names:
        if name not in FRAMEWORKS:
            raise click.BadParameter(f"{name!r}: expected some of {', '.join(FRAMEWORKS)}")
    return names


def _workloads(context: click.Context, option: click.Parameter, patterns: tuple[str, ...]) -> list[Workload]:
    try:
        return chosen(part for pattern in patterns for part in pattern.split(","))
    except UnknownWorkload as problem:
        raise click.BadParameter(str(problem)) from None


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-w", "--workload", "workloads", multiple=True, default=("*",), callback=_workloads, help="Names or patterns.")
@click.option("-t", "--threads", default="1,2", show_default=True, callback=_numbers, help="Numbers of threads.")
@click.option(
    "-p", "--peers", "frameworks", callback=_frameworks, help=f"Of {', '.join(FRAMEWORKS)}. Default: without the last."
)
@click.option("--compile", "slow", is_flag=True, help="torch.compile, too: it takes seconds for each workload.")
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=0.1, show_default=True, help="Of each round.")
@click.option(
    "--clock", type=click.Choice(CLOCKS), default="wall", show_default=True, help="Others than wall: on a busy machine."
)
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write everything, as JSON.")
@click.option("--profile", "profiling", is_flag=True, help="Time graphc's kernels one by one instead.")
@click.option("--list", "listing", is_flag=True, help="Print the names of the workloads.")
def main(
    workloads: list[Workload],
    threads: list[int],
    frameworks: list[str],
    slow: bool,
    rounds: int,
    seconds: float,
    clock: str,
    file: Path | None,
    profiling: bool,
    listing: bool,
) -> None:
    """Time graphc and its peers side by side."""
    console = Console(width=None if sys.stdout.isatty() else 180)
    if listing:
        console.print("\n".join(WORKLOADS))
        return
    if profiling:
        for workload in workloads:
            for number in threads:
                console.print(profile(workload, number, seconds))
        return
    names = list(dict.fromkeys([OURS, *frameworks, *([_SLOW] if slow else [])]))
    names = _installed(names, console)
    results, limits = [], {}
    for number in threads:
        limits[number] = report.Limits(machine.peak_flops(number), machine.copy_bandwidth(number))
        found = _contests(workloads, number, names, Rules(rounds, seconds))
        console.print(report.table(found, limits[number], clock))
        results += found
    if file is not None:
        file.write_text(json.dumps(report.document(results, limits, machine.description(), clock), indent=1) + "\n")


def _installed(names: Sequence[str], console: Console) -> list[str]:
    for name in names:
        package = missing(name)
        if package:
            console.print(f"{name} is left out: {package} is not installed (pip install 'graphc[peers]')")
    return [name for name in names if not missing(name)]


def _contests(workloads: Sequence[Workload], threads: int, names: Sequence[str], rules: Rules) -> list[Contest]:
    results: list[Contest] = []
    with Console(stderr=True).status("") as status:

        def note(text: str) -> None:
            status.update(f"{threads} threads, {len(results) + 1}/{len(workloads)} {workload.name}: {text}")

        for workload in workloads:
            results.append(contest(workload, threads, names, rules, note))
    return results


if __name__ == "__main__":
    main()
