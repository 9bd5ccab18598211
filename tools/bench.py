"""graphc beside its peers: one table, one run, each framework in a process of its own.

python tools/bench.py                                          every workload, on 1 and 2 threads
python tools/bench.py -w 'mlp*' -t 1 --rounds 9                some, and how
python tools/bench.py -w networks --json out.json --resume     go on where a run was stopped
python tools/bench.py --merge a.json b.json                    one table of several runs on one machine
python tools/bench.py --profile -w lenet_b64                   graphc alone, kernel by kernel

Rounds are interleaved, outputs are compared before anything is timed, and a number that is too noisy to be trusted is
marked. Peers that are not installed are left out with a note: pip install 'graphc[peers]'.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby, product
from pathlib import Path
from typing import Any

import click
from benchmark import machine, report
from benchmark.contest import FRAMEWORKS, Rules, contest, missing, taking_part
from benchmark.profile import profile
from benchmark.results import CLOCKS, OURS, Contest, merged
from benchmark.workloads import WORKLOADS, UnknownWorkload, Workload, chosen
from rich.console import Console

_SLOW = "torch_compile"  # takes seconds for each workload, so it must be asked for
_FILE = click.Path(dir_okay=False, path_type=Path)


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
@click.option(
    "-w",
    "--workload",
    "workloads",
    multiple=True,
    default=("*",),
    callback=_workloads,
    help="Names, patterns, networks or layers.",
)
@click.option("-t", "--threads", default="1,2", show_default=True, callback=_numbers, help="Numbers of threads.")
@click.option(
    "-p", "--peers", "frameworks", callback=_frameworks, help=f"Of {', '.join(FRAMEWORKS)}. Default: without the last."
)
@click.option("--compile", "slow", is_flag=True, help="torch.compile, too: it takes seconds for each workload.")
@click.option("--rounds", type=click.IntRange(min=1), default=Rules.rounds, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=Rules.seconds, show_default=True, help="Of each round."
)
@click.option(
    "--clock", type=click.Choice(CLOCKS), default="wall", show_default=True, help="Others than wall: on a busy machine."
)
@click.option("--json", "file", type=_FILE, help="Write everything, as JSON, after each workload.")
@click.option("--resume", is_flag=True, help="Keep what the JSON file holds of these workloads, and go on from there.")
@click.option("--merge", is_flag=True, help="Time nothing: show FILES as one, where the last that has a workload counts.")
@click.option("--profile", "profiling", is_flag=True, help="Time graphc's kernels one by one instead.")
@click.option("--list", "listing", is_flag=True, help="Print the names of the workloads.")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(
    workloads: list[Workload],
    threads: list[int],
    frameworks: list[str],
    slow: bool,
    rounds: int,
    seconds: float,
    clock: str,
    file: Path | None,
    resume: bool,
    merge: bool,
    profiling: bool,
    listing: bool,
    files: tuple[Path, ...],
) -> None:
    """Time graphc and its peers side by side."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    _check_use(threads, clock, file, resume, merge, files)
    if listing:
        console.print("\n".join(WORKLOADS))
    elif profiling:
        for workload, count in product(workloads, threads):
            console.print(profile(workload, count, seconds))
    elif merge:
        results, described = _merged(files)
        _show(results, clock, console)
        _keep(file, clock, described, results)
    else:
        names = _installed(list(dict.fromkeys([OURS, *frameworks, *([_SLOW] if slow else [])])), console)
        before = _read(file)[0] if resume and file is not None and file.exists() else []
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stopped processes must not stay behind
        keep = partial(_keep, file, clock, machine.description())
        _show(_timed(workloads, threads, names, Rules(rounds, seconds), before, keep), clock, console)


def _check_use(threads: Sequence[int], clock: str, file: Path | None, resume: bool, merge: bool, files: Sequence[Path]) -> None:
    """Refuse options that say nothing together, and a file that could not be written."""
    if files and not merge:
        raise click.UsageError(f"{files[0]}: files are for --merge; workloads are named with -w")
    if file is not None and not file.parent.is_dir():
        raise click.UsageError(f"--json {file}: there is no folder {file.parent}; make it first")
    if resume and file is None:
        raise click.UsageError("--resume goes on with the file of --json: say which")
    if clock == "cpu" and max(threads) > 1 and not merge:
        raise click.UsageError("--clock cpu adds up all threads, which says nothing about several: use it with --threads 1")


def _keep(file: Path | None, clock: str, described: dict[str, Any], results: Sequence[Contest]) -> None:
    """Write the file, if there is one."""
    if file is not None:
        report.write(results, described, clock, file)


def _show(results: Sequence[Contest], clock: str, console: Console) -> None:
    for _, group in groupby(results, lambda result: result.threads):
        console.print(report.table(list(group), clock, results))


def _merged(files: Sequence[Path]) -> tuple[list[Contest], dict[str, Any]]:
    """The contests of all files, and the machine they were held on."""
    runs = [_read(file) for file in files]
    cpus = {described["cpu"]: file for file, (_, described) in zip(files, runs, strict=True)}
    if len(cpus) > 1:
        named = ", ".join(f"{file} ({cpu})" for cpu, file in cpus.items())
        raise click.UsageError(f"runs on different machines say nothing about each other: {named}")
    return merged(contest for results, _ in runs for contest in results), runs[-1][1] if runs else {}


def _read(file: Path) -> tuple[list[Contest], dict[str, Any]]:
    try:
        return report.read(file)
    except report.Unreadable as problem:
        raise click.UsageError(str(problem)) from None


def _installed(names: Sequence[str], console: Console) -> list[str]:
    for name in names:
        package = missing(name)
        if package:
            console.print(f"{name} is left out: {package} is not installed (pip install 'graphc[peers]')")
    return [name for name in names if not missing(name)]


def _timed(
    workloads: Sequence[Workload],
    threads: Sequence[int],
    names: Sequence[str],
    rules: Rules,
    before: Sequence[Contest],
    keep: Callable[[Sequence[Contest]], None],
) -> list[Contest]:
    """`before` and the contests that it lacks, which is told to `keep` after each of them."""
    results = list(before)
    held = {(c.threads, c.workload.name) for c in before if set(taking_part(c.workload, names)) <= set(c.entries)}
    todo = [(count, workload) for count in threads for workload in workloads if (count, workload.name) not in held]
    with Console(stderr=True).status("") as status:
        for number, (count, workload) in enumerate(todo, 1):
            place = f"{number}/{len(todo)} {workload.name}, {count} threads: "
            note = lambda text, place=place: status.update(place + text)  # noqa: E731
            results = merged([*results, contest(workload, count, names, rules, note)])
            keep(results)
    return results


if __name__ == "__main__":
    main()
