"""`quasim evolve`: populations on their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from cluster.cli.output import console, log, print_json
from quasim.codec import to_json
from quasim.kernels import check_problem
from quasim.search import strategy
from quasim.targets.spec import CSpec
from quasim.trial import Genome, Problem
from storage.files import write_atomic

app = typer.Typer(help="Populations of genomes.", no_args_is_help=True)


class Population(msgspec.Struct, frozen=True):
    """A first generation, reproducible from its seed."""

    problem: Problem
    target: str
    strategy: str
    seed: int
    space: str
    genomes: tuple[Genome, ...]


@app.command("init")
def init(
    population_size: Annotated[int, typer.Option(min=1, help="How many genomes.")] = 20,
    seed: Annotated[int, typer.Option(help="Same seed, same population.")] = 42,
    kernel: Annotated[str, typer.Option(help="Kernel family.")] = "matmul",
    shape: Annotated[str, typer.Option(help="Extents, such as m=768,n=768,k=768.")] = "m=768,n=768,k=768",
    threads: Annotated[int | None, typer.Option(min=1, help="Most threads; default: every usable core.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the population to this file, JSON.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Draw the first generation of a kernel's search space. Nothing is compiled or measured."""
    problem = check_problem(Problem.parse(kernel, shape))
    target = CSpec(threads).open()
    try:
        space = target.space(problem)
    finally:
        target.close()
    genomes = tuple(strategy("evolution", space, seed).ask(population_size))
    population = Population(problem, target.name, "evolution", seed, space.digest, genomes)
    if out is not None:
        write_atomic(out, to_json(population))
        log().print(f"population written to {out}")
    if json:
        print_json(population)
        return
    table = Table("#", *space.names, title=f"{len(genomes)} of {space.size} configurations for {problem}, seed {seed}")
    for number, genome in enumerate(genomes):
        table.add_row(str(number), *(str(genome[name]) for name in space.names))
    console().print(table)
