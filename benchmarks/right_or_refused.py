"""Right, or refused by name: every objective on programs as users write them, against exact values.

    OMP_NUM_THREADS=1 python benchmarks/right_or_refused.py                  # the whole table; goes on where it stopped
    python benchmarks/right_or_refused.py --smoke                            # a few cells
    python benchmarks/right_or_refused.py --programs normal gamma --objectives IWAE VIMCO --backends numpyro

A cell is a program of ``tests/programs.py``, an objective, a backend and a number of draws. ``SVI.fit`` trains it with
a rate so small that nothing moves: the losses of the history, and the steps of the parameters over that rate, are
independent estimates of the bound and of its gradient. The exact ones follow from the program's densities at every
value of its latents. The verdict is ``right`` with the largest z-score, ``refused`` with the words, or ``wrong``, which
an error of PyTorch, Pyro, JAX or NumPyro is, too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [path for path in map(str, (ROOT, ROOT / "benchmarks", ROOT / "tests")) if path not in sys.path]

import jax  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
import torch  # noqa: E402
from exact_bounds import (  # noqa: E402
    NAMES,
    SMALL,
    TARGET,
    Exact,
    Values,
    alike,
    associated,
    capacity,
    correlation,
    covariance,
    criticised,
    criticised_jointly,
    difference,
    discrepancy,
    elbo,
    floored,
    hidden,
    likelihood,
    mean_log_mean,
    moved,
    overlap,
    rejection,
    relaxed,
    renyi,
    slept,
    softplus,
    squared,
    straight_through,
    stratified,
    stuck,
    weighted,
    woken,
)
from programs import PROGRAMS, SIZE, START, Program, Tables  # noqa: E402

from ppl_vae import backends, baselines, objectives  # noqa: E402
from ppl_vae.critics import Critic  # noqa: E402
from ppl_vae.discriminators import Discriminator  # noqa: E402
from ppl_vae.players import sizes_of  # noqa: E402
from ppl_vae.seeds import generator  # noqa: E402

RATE = 1e-7
"""Of the training: parameters move by this much of a gradient."""
EPOCHS = 20
"""Each an estimate."""
LIMIT = 4.0
"""The largest z-score of a right number."""
TOGETHER = 40
"""Cells whose compiled programs are held in memory at a time: a process can map only so many."""
ROUNDING = 2e-6
"""The part of a number that rounding may take."""
Penalty = Callable[[Exact, list[Tables]], float]


# The objectives.


@dataclass(frozen=True)
class Case:
    """An objective: how to make it, and its exact value and gradient."""

    make: Callable[..., Any]
    """(the objectives' module, K, max_plate_nesting) -> objective"""
    exact: Callable[[Exact, int], Values]
    draws: tuple[int, ...] = (1, 3)
    whole: bool = False
    """whether a batch is all data, ``SMALL`` of them"""
    played: bool = False
    """whether the exact value reads the player, which does not move, and its first state"""


def ours(name: str, **settings: Any) -> Callable[..., Any]:
    return lambda inference, draws, nesting: getattr(inference, name)(draws, max_plate_nesting=nesting, **settings)


def of_elbo(beta: float = 1.0) -> Callable[[Exact, int], Values]:
    return lambda exact, draws: exact.ascent(partial(elbo, beta=beta))


def of_iwae(exact: Exact, draws: int) -> Values:
    return exact.ascent(lambda t: mean_log_mean(t, draws))


def _stock(name: str, *args: Any, **settings: Any) -> Callable[..., Any]:
    def make(inference: Any, draws: int, nesting: int) -> Any:
        if "numpyro" in inference.__name__:
            import numpyro.infer as library

            return getattr(library, name)(*args, num_particles=draws)
        import pyro.infer as library

        return getattr(library, name)(
            *args, num_particles=draws, max_plate_nesting=nesting, vectorize_particles=draws > 1, **settings
        )

    return make


PATH = objectives.Reparameterise()


def by_site(of_k: Any, of_z: Any = PATH) -> Callable[..., Any]:
    """Strategies of the sites k and z, a bit and a normal."""

    def make(inference: Any, draws: int, nesting: int) -> Any:
        settings = {"num_particles": draws, "max_plate_nesting": nesting}
        return inference.PerSite({"k": of_k, "z": of_z}, **settings)

    return make


def penalised(
    name: str, penalty: Penalty, of: Callable[[Tables], float] = elbo, strength: float = 2.0, **settings: Any
) -> Case:
    """An objective of this family: the mean of ``of`` less the penalty, on batches of all data."""

    def exact(exact: Exact, draws: int) -> Values:
        def value(at: Values) -> float:
            tables = [exact.program.tables(x, **at) for x in exact.program.x]
            return float(np.mean([of(t) for t in tables])) - strength * penalty(exact, tables)

        return {"value": value(START), **difference(value)}

    return Case(ours(name, strength=strength, **settings), exact, whole=True)


OBJECTIVES: dict[str, Case] = {
    "TraceELBO": Case(ours("TraceELBO"), of_elbo()),
    "TraceELBO, beta 1/2": Case(ours("TraceELBO", beta=0.5), of_elbo(0.5)),
    "TraceELBO, sticking": Case(ours("TraceELBO", stick_the_landing=True), of_elbo()),
    "TraceMeanFieldELBO": Case(ours("TraceMeanFieldELBO"), of_elbo()),
    "CapacityELBO": Case(ours("CapacityELBO", target=TARGET, strength=2.0), capacity),
    "FreeBitsELBO": Case(ours("FreeBitsELBO", floor=0.4), lambda e, k: e.ascent(lambda t: floored(t, k, 0.4))),
    "FreeBitsELBO, over the batch": Case(
        ours("FreeBitsELBO", floor=20.0, over_batch=True), lambda e, k: e.ascent(lambda t: likelihood(t) - 20.0)
    ),
    "IWAE": Case(ours("IWAE"), of_iwae),
    "IWAE, in chunks": Case(ours("IWAE", chunk=1), of_iwae, (3,)),
    "IWAE, sticking": Case(ours("IWAE", stick_the_landing=True), stuck),
    "DReG": Case(ours("DReG"), of_iwae),
    "DReG, in chunks": Case(ours("DReG", chunk=1), of_iwae, (3,)),
    "RenyiELBO": Case(ours("RenyiELBO", alpha=0.5), lambda e, k: e.ascent(lambda t: renyi(t, k, 0.5))),
    "MIWAE": Case(ours("MIWAE", num_groups=2), of_iwae),
    "CIWAE": Case(
        ours("CIWAE", weight=0.5), lambda e, k: e.ascent(lambda t: 0.5 * elbo(t) + 0.5 * mean_log_mean(t, k))
    ),
    "RejectionELBO": Case(ours("RejectionELBO"), lambda e, k: e.ascent(lambda t: rejection(t, k)), (1, 2)),
    "TraceGraphELBO": Case(ours("TraceGraphELBO"), of_elbo()),
    "TraceGraphELBO, analytic KL": Case(ours("TraceGraphELBO", analytic_kl=True), of_elbo()),
    "TraceGraphELBO, leave one out": Case(ours("TraceGraphELBO", baseline=baselines.LeaveOneOut()), of_elbo(), (3,)),
    "TraceGraphELBO, running average": Case(ours("TraceGraphELBO", baseline=baselines.RunningAverage()), of_elbo()),
    "TraceGraphELBO, neural baseline": Case(ours("TraceGraphELBO", baseline=baselines.Neural()), of_elbo()),
    "VIMCO": Case(ours("VIMCO"), of_iwae, (3,)),
    "VIMCO, pathwise": Case(ours("VIMCO", pathwise=True), of_iwae, (3,)),
    "WakeWake": Case(ours("WakeWake"), woken),
    "WakeSleep": Case(ours("WakeSleep"), slept),
    "TraceEnumELBO": Case(ours("TraceEnumELBO"), of_elbo()),
    "DiffusionELBO": Case(ours("DiffusionELBO"), of_elbo()),
    "FIVO": Case(ours("FIVO"), of_iwae, (3,)),
    "NASMC": Case(ours("NASMC"), woken, (3,)),
    "VQELBO": Case(ours("VQELBO"), of_elbo(), (1,)),
    "PriorELBO": Case(ours("PriorELBO"), of_elbo()),
    "ACN": Case(ours("ACN", learning_rate=1e-12), associated, played=True),
    "HMCELBO": Case(ours("HMCELBO", transitions=40, leapfrog=3, step_size=0.5), moved),
    "GAN": Case(ours("GAN"), of_elbo(), (1,)),
    "GMMN": Case(ours("GMMN"), of_elbo(), (1,)),
    "MISELBO": Case(ours("MISELBO"), of_elbo()),
    "GumbelSoftmax": Case(ours("GumbelSoftmax", temperature=0.7), lambda e, k: relaxed(e, 0.7)),
    "GumbelSoftmax, straight through": Case(
        ours("GumbelSoftmax", temperature=0.7, straight_through=True), lambda e, k: straight_through(e, 0.7)
    ),
    "GumbelSoftmax, averaged": Case(
        ours("GumbelSoftmax", temperature=0.7, straight_through=True, averaged=4), lambda e, k: straight_through(e, 0.7)
    ),
    "Labelled": Case(
        lambda inference, draws, nesting: inference.Labelled(objectives.TraceELBO(draws), max_plate_nesting=nesting),
        of_elbo(),
    ),
    "GroupMMD": Case(
        lambda inference, draws, nesting: inference.GroupMMD(objectives.TraceELBO(draws), max_plate_nesting=nesting),
        of_elbo(),
    ),
    "Denoising": Case(
        lambda inference, draws, nesting: inference.Denoising(
            objectives.TraceELBO(draws), scale=1e-6, max_plate_nesting=nesting
        ),
        of_elbo(),
    ),
    "PerSite, enumerated": Case(by_site(objectives.Enumerate()), of_elbo()),
    "PerSite, scored": Case(by_site(objectives.Score()), of_elbo()),
    "PerSite, leave one out": Case(by_site(objectives.Score(baselines.LeaveOneOut())), of_elbo(), (3,)),
    "PerSite, measure-valued": Case(by_site(objectives.MeasureValued()), of_elbo()),
    "PerSite, relaxed": Case(by_site(objectives.Relax(0.7)), lambda e, k: relaxed(e, 0.7)),
    "PerSite, all scored": Case(
        by_site(objectives.Score(), objectives.Score(baselines.LeaveOneOut())), of_elbo(), (3,)
    ),
    "REBAR": Case(ours("REBAR"), of_elbo()),
    "RELAX": Case(ours("RELAX"), of_elbo()),
    "RODEO": Case(ours("RODEO"), of_elbo(), (3,)),
    "MuProp": Case(ours("MuProp"), of_elbo()),
    "ARM": Case(ours("ARM"), of_elbo()),
    "DisARM": Case(ours("DisARM"), of_elbo()),
    "DisARM, analytic KL": Case(ours("DisARM", analytic_kl=True), of_elbo()),
    "BetaTCVAE, weighted": penalised("BetaTCVAE", partial(correlation, weights=weighted), estimator="weighted"),
    "BetaTCVAE, stratified": penalised("BetaTCVAE", partial(correlation, weights=stratified)),
    "DIPVAE, kind i": penalised("DIPVAE", partial(covariance, of_draws=False), kind="i"),
    "DIPVAE, kind ii": penalised("DIPVAE", partial(covariance, of_draws=True), kind="ii"),
    "RandomMixtureVAE, Hellinger": penalised("RandomMixtureVAE", overlap, divergence="squared hellinger"),
    "InfoVAE, MMD": penalised("InfoVAE", discrepancy),
    "WAE, MMD, squared": penalised("WAE", discrepancy, squared, cost="squared"),
    "FactorVAE, critic": penalised("FactorVAE", partial(criticised, of=lambda logits: logits)),
    "WAEGAN, critic, squared": penalised("WAEGAN", partial(criticised, of=softplus), squared, cost="squared"),
    "FDivergenceVAE, critic": penalised("FDivergenceVAE", partial(criticised, of=lambda logits: logits)),
    "AVB, critic": replace(
        penalised("AVB", criticised_jointly, likelihood), make=ours("AVB", beta=2.0, adaptive_contrast=False)
    ),
    "ALI, critic": Case(ours("ALI"), hidden, (1, 3), whole=True),
    "VAEGAN, critic": Case(ours("VAEGAN", strength=2.0), alike, (1,), whole=True, played=True),
    "AAE, critic": penalised("AAE", partial(criticised, of=softplus), likelihood),
    "stock Trace_ELBO": Case(_stock("Trace_ELBO"), of_elbo()),
    "stock TraceMeanField_ELBO": Case(_stock("TraceMeanField_ELBO"), of_elbo()),
    "stock TraceGraph_ELBO": Case(_stock("TraceGraph_ELBO"), of_elbo()),
    "stock RenyiELBO": Case(_stock("RenyiELBO", 0.5), lambda e, k: e.ascent(lambda t: renyi(t, k, 0.5)), (3,)),
}
"""Name -> objective."""


def complete() -> set[str]:
    """The names of our objectives that no case has."""
    return set(objectives.concrete()) - {name.split(",")[0] for name in OBJECTIVES}


# Cells.


@dataclass(frozen=True)
class Verdict:
    """What came of a cell."""

    kind: str
    """right, refused, wrong or raw error"""
    words: str = ""
    z: float = 0.0
    got: Values | None = None
    error: Values | None = None
    """standard errors"""
    right: Values | None = None
    seconds: float = 0.0


def cells(programs: Iterable[str], names: Iterable[str], sides: Iterable[str]) -> Iterator[tuple[str, str, str, int]]:
    """Every (program, objective, backend, K)."""
    for program, name, side in itertools.product(programs, names, sides):
        for draws in OBJECTIVES[name].draws:
            yield program, name, side, draws


def losses_and_steps(
    program: Program, case: Case, side: str, draws: int, epochs: int, seed: int
) -> tuple[dict[str, np.ndarray], Any]:
    """Train without moving: estimates of the bound and of its gradient, (epochs,) each; and the critic, if any."""
    inference = backends.load(side).inference
    loss = case.make(inference, draws, program.nesting)
    training: Any = inference.SVI
    if getattr(loss, "needs_critic", False):
        kind = Discriminator if loss.judges == "data" else Critic
        training = partial(inference.Adversarial, critic=kind((2,), learning_rate=1e-12))
    optim = optax.sgd(RATE) if side == "numpyro" else partial(torch.optim.SGD, lr=RATE)
    rows, size = (SMALL, SMALL) if case.whole else (SIZE if program.together else 2 * SIZE, SIZE)
    x = np.tile(program.x, (rows // len(program.x), 1))
    states: list[Values] = []

    def note(epoch: int, metrics: Any, fit: Any) -> None:
        states.append({name: parameter(fit.pair.state(), name) for name in NAMES})

    svi = training(loss, optim=optim, epochs=epochs + 1, batch_size=size)
    fit = svi.fit(*program.pairs[side](), x, callback=note, seed=seed, progress=False)
    found = {"value": -fit.history["loss"][1:]}
    for name in NAMES:
        found[name] = np.diff([state[name] for state in states]) / (rows // size * RATE)
    if not case.played:
        return found, fit.critic
    (player,) = svi.players
    return found, (player, player.init(sizes_of(x.shape[1], fit.pair.sites, rows), generator(seed, player.name)))


def parameter(state: dict[str, np.ndarray], name: str) -> float:
    """A parameter of a pair by the last word of its name; 0 where the pair has none of that name."""
    for key, value in state.items():
        words = key.replace("/", ".").removesuffix(".value").split(".")
        if words[-1] == name:
            return float(np.ravel(value)[0])
    return 0.0


def judge(program: Program, name: str, side: str, draws: int, epochs: int = EPOCHS, seed: int = 0) -> Verdict:
    """The verdict of a cell. A z-score over the limit is looked at again, with four times the draws."""
    began, case = time.perf_counter(), OBJECTIVES[name]
    try:
        with precise(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for attempt in (1, 4):
                drawn, critic = losses_and_steps(program, case, side, draws, attempt * epochs, seed + attempt)
                verdict = compared(drawn, truth(program, name, draws, critic))
                if verdict.z <= LIMIT:
                    break
    except Exception as error:
        verdict = Verdict("refused" if is_refusal(error) else "raw error", told(error))
    return replace(verdict, seconds=round(time.perf_counter() - began, 2))


class precise:
    """A block in double precision, on both backends."""

    def __enter__(self) -> None:
        self.before, self.jax = torch.get_default_dtype(), jax.enable_x64(True)
        torch.set_default_dtype(torch.float64)
        self.jax.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.jax.__exit__(*error)
        torch.set_default_dtype(self.before)


TRUTHS: dict[tuple[str, str, int], Values] = {}


def truth(program: Program, name: str, draws: int, critic: Callable[[np.ndarray], np.ndarray] | None = None) -> Values:
    """The exact value and gradient of a cell."""
    key = program.name, name, draws
    if key not in TRUTHS or critic is not None:
        TRUTHS[key] = OBJECTIVES[name].exact(Exact(program, critic), draws)
    return TRUTHS[key]


def compared(drawn: dict[str, np.ndarray], right: Values) -> Verdict:
    """Right or wrong, by the largest z-score."""
    got = {name: float(values.mean()) for name, values in drawn.items()}
    error = {name: float(values.std(ddof=1) / np.sqrt(len(values))) for name, values in drawn.items()}
    size = max(1.0, *(abs(v) for v in right.values()))
    scores = {name: abs(got[name] - right[name]) / np.hypot(error[name], ROUNDING * size / LIMIT) for name in right}
    z = max(scores.values())
    kind = "right" if z <= LIMIT else "wrong"
    return Verdict(kind, "", float(z), got, error, right)


def is_refusal(error: Exception) -> bool:
    """Whether an error is ours: a ValueError or TypeError that the package raised itself."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return isinstance(error, ValueError | TypeError) and str(ROOT / "ppl_vae") in last


def told(error: Exception) -> str:
    """The words of an error, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).replace(f'{ROOT}/', '').split())}"


# The page.


def key_of(program: str, name: str, draws: int) -> str:
    return f"{program} | {name} | {draws}"


PAGE = """# Right, or refused

Every objective on programs as users of Pyro and NumPyro write them. Each cell is *right*: its value and its gradient
agree with exact ones, within {limit:.0f} standard errors; or *refused*: an error of the package says which site or
objective does not fit, and what to do. A number that disagrees, or an error of another library, is *wrong*.

`python benchmarks/right_or_refused.py --page docs/right_or_refused.md` runs the cells and writes this page; a part of
them is a test. The exact values come from the densities of each program at every value of its latents, in NumPy. A
bound of K draws is summed over all of them; gradients are differences of such values. `SVI.fit` gives the estimates:
its losses, and the steps of its parameters.

Of {every} cells {cells} are in this table, each run when its objective came or changed; the others wait for time.

{counts}

## Programs

The largest z-score of the cells that are right, over objectives and numbers of draws. Each cell has four, so
that a few exceed 3 by chance.

{programs}

## Objectives

{objectives}

## Refusals

Each in its first words, with the number of cells.

{refusals}
{wrong}"""


def page(done: dict[tuple[str, str, str, int], dict[str, Any]]) -> str:
    """The table of verdicts as Markdown."""
    rows = [(*key, cell) for key, cell in done.items()]
    kinds = ("right", "refused", "wrong", "raw error")
    counts = ["| backend | right | refused | wrong | not run |", "| --- | ---: | ---: | ---: | ---: |"]
    for side in backends.NAMES:
        of = [cell["kind"] for *_, where, _, cell in rows if where == side]
        right, refused, wrong, raw = (of.count(kind) for kind in kinds)
        left = len(list(cells(PROGRAMS, OBJECTIVES, [side]))) - len(of)
        counts.append(f"| {side} | {right} | {refused} | {wrong + raw} | {left} |")
    refusals: dict[str, int] = {}
    for *_, cell in rows:
        if cell["kind"] == "refused":
            words = cell["words"].replace("|", "\\|")
            refusals[words] = refusals.get(words, 0) + 1
    told = [f"- {words} ({count})" for words, count in sorted(refusals.items(), key=lambda item: -item[1])]
    faults = [
        f"- {program}, {name}, {side}, K = {draws}: {cell['words'] or 'z = ' + format(cell['z'], '.1f')}"
        for program, name, side, draws, cell in rows
        if cell["kind"] in kinds[2:]
    ]
    return PAGE.format(
        limit=LIMIT,
        cells=len(rows),
        every=len(list(cells(PROGRAMS, OBJECTIVES, backends.NAMES))),
        counts="\n".join(counts),
        programs=_by(rows, 0, "program"),
        objectives=_by(rows, 1, "objective"),
        refusals="\n".join(told),
        wrong="\n## Wrong\n\n" + "\n".join(faults) + "\n" if faults else "",
    )


def _by(rows: list[Any], place: int, heading: str) -> str:
    """A table with a line for each program or objective."""
    lines = [f"| {heading} | right | refused | wrong | largest z |", "| --- | ---: | ---: | ---: | ---: |"]
    for what in dict.fromkeys(row[place] for row in rows):
        of = [row[-1] for row in rows if row[place] == what]
        right = [cell["z"] for cell in of if cell["kind"] == "right"]
        refused = sum(cell["kind"] == "refused" for cell in of)
        largest = f"{max(right):.1f}" if right else ""
        lines.append(f"| {what} | {len(right)} | {refused} | {len(of) - len(right) - refused} | {largest} |")
    return "\n".join(lines)


SMOKE = ("normal",), ("IWAE", "TraceEnumELBO")
"""Programs, and objectives."""


def main(arguments: list[str] | None = None) -> int:
    """Run the cells that are asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS)
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES)
    parser.add_argument("--backends", nargs="+", choices=backends.NAMES, default=backends.NAMES)
    parser.add_argument("--draws", type=int, nargs="+", help="K; by default all of each objective, most often 1 and 3")
    parser.add_argument("--smoke", action="store_true", help="a few cells")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "right_or_refused", help="folder of the verdicts")
    parser.add_argument("--page", type=Path, help="file to write the page to, as docs/right_or_refused.md")
    options = parser.parse_args(arguments)
    jax.config.update("jax_disable_most_optimizations", True)  # compiling takes most of the time
    options.out.mkdir(parents=True, exist_ok=True)
    programs, names = SMOKE if options.smoke else (options.programs or PROGRAMS, options.objectives or OBJECTIVES)
    for program, name, side, draws in cells(programs, names, options.backends):
        path, key = options.out / f"{side}.json", key_of(program, name, draws)
        done = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if key in done or draws not in (options.draws or [draws]):
            continue
        done[key] = asdict(judge(PROGRAMS[program], name, side, draws))
        if len(done) % TOGETHER == 0:
            jax.clear_caches()
        path.write_text(json.dumps(done, indent=0), encoding="utf-8")
        cell = done[key]
        print(
            f"{cell['kind']:9} {side:7} {key:60} z {cell['z']:6.2f}  {cell['seconds']:5.1f} s  {cell['words'][:150]}",
            flush=True,
        )
    if options.page:
        options.page.write_text(page(read(options.out)), encoding="utf-8")
    return 0


def read(folder: Path) -> dict[tuple[str, str, str, int], dict[str, Any]]:
    """The verdicts in a folder, in the order of the tables."""
    told = {
        side: json.loads((folder / f"{side}.json").read_text(encoding="utf-8"))
        for side in backends.NAMES
        if (folder / f"{side}.json").exists()
    }
    every = cells(PROGRAMS, OBJECTIVES, backends.NAMES)
    return {
        (program, name, side, draws): told[side][key_of(program, name, draws)]
        for program, name, side, draws in every
        if key_of(program, name, draws) in told.get(side, {})
    }


if __name__ == "__main__":
    sys.exit(main())
