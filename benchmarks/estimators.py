"""Every estimator of the gradient through discrete latents: against enumeration, and by what training with it makes.

    python benchmarks/estimators.py atlas                       # 8 bits in one layer and in two, both backends
    python benchmarks/estimators.py fits                        # which latents each takes, and which it refuses
    python benchmarks/estimators.py train --data digits         # all cells of a data set that are not there yet
    PPL_VAE_DATA=<folder> python benchmarks/estimators.py train --data static_mnist --epochs 10
    python benchmarks/estimators.py page                        # tables in Markdown, and the figure

``atlas``: a VAE with a few bits, trained a little by enumeration; at its parameters the guide's gradient by each
estimator for the same images. Bias is the distance of the mean from the exact gradient, over the norm of that; chance
is the part of it that the number of draws explains; noise is the variance of one gradient, over the squared norm, times
the runs of the model that it takes; milliseconds are those of one gradient of 20 images, the median. Of two layers
one may be enumerated and the other drawn, or each flipped bit by bit, by ``PerSite``.

``train``: one likelihood, Bernoulli of the pixels (grey levels of digits count as expected values), 200 bits or 20
variables of 10 categories, one layer or two, nets with one hidden layer of 200 units throughout. Each cell is one file
of ``--out``; those that are there are not run again, and the page says of the others that they were not run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ppl_vae import backends, baselines, data, evaluation, objectives, plots, recipes, seeds
from ppl_vae.errors import UnsuitableObjective

IMAGES = 20
ATLAS = {1: "atlas", 2: "atlas2"}
"""Layers -> the first part of the name of a cell's file."""
OTHER = ("VIMCO 4", "wake-wake 4")
"""Gradients of other objectives than the ELBO."""
BITS, VARIABLES, CATEGORIES, HIDDEN = 200, 20, 10, 200
PUBLISHED = {
    ("bernoulli", "NVIL"): 112.2,
    ("bernoulli", "straight-through, t 0.5"): 116.0,
    ("bernoulli", "Gumbel, t 0.5"): 105.0,
    ("categorical", "NVIL"): 110.6,
    ("categorical", "straight-through, t 0.5"): 110.9,
    ("categorical", "Gumbel, t 0.5"): 101.5,
}
"""(latents, estimator) -> negative variational bound of MNIST in Table 1 of Jang et al., 2017, as cited."""


def estimators(i: Any, *, bits: bool = True, layers: int = 1) -> dict[str, tuple[Any, int]]:
    """Name -> (objective, runs of the model for each datum)."""
    graph, relaxed, loo = i.TraceGraphELBO, i.GumbelSoftmax, baselines.LeaveOneOut()
    found = {
        "REINFORCE": (graph(), 1),
        "NVIL": (graph(baseline=baselines.Neural()), 1),
        "RLOO 2": (graph(2, baseline=loo), 2),
        "RLOO 4": (graph(4, baseline=loo), 4),
    }
    if layers == 2:
        return {**found, "VIMCO 4": (i.VIMCO(4), 4), "wake-wake 4": (i.WakeWake(4), 4)}
    found |= {"MuProp": (i.MuProp(), 2), "REBAR": (i.REBAR(), 3), "RELAX": (i.RELAX(), 3)}
    if bits:
        found |= {"RODEO 2": (i.RODEO(2), 2), "RODEO 4": (i.RODEO(4), 4)}
        found |= {"ARM": (i.ARM(), 2), "DisARM": (i.DisARM(), 2)}
    for t in (1.0, 0.5, 0.1):
        found[f"Gumbel, t {t:g}"] = (relaxed(temperature=t), 1)
        found[f"straight-through, t {t:g}"] = (relaxed(temperature=t, straight_through=True), 1)
    found["Gumbel-Rao 20, t 0.1"] = (relaxed(temperature=0.1, straight_through=True, averaged=20), 1)
    return found


def of_atlas(i: Any, bits: int, layers: int) -> dict[str, tuple[Any, int]]:
    """Those whose mean, but for a bias, is the ELBO's gradient, with strategies by site that few bits allow."""
    flips, loo = objectives.MeasureValued(), objectives.Score(baselines.LeaveOneOut())
    if layers == 1:
        return {**estimators(i), "measure-valued": (i.PerSite({"z": flips}), 1 + bits)}
    every, half = objectives.Enumerate(), bits // 2
    found = {name: value for name, value in estimators(i, layers=2).items() if name not in OTHER}
    by_site = {
        "RLOO 4, each site's terms": ({"z1": loo, "z2": loo}, 4, 4),
        "z1 enumerated, z2 drawn": ({"z1": every, "z2": loo}, 2, 2 * 2**half),
        "z1 drawn, z2 enumerated": ({"z1": loo, "z2": every}, 2, 2 * 2**half),
        "measure-valued": ({"z1": flips, "z2": flips}, 1, 1 + bits),
    }
    return found | {name: (i.PerSite(s, num_particles=draws), runs) for name, (s, draws, runs) in by_site.items()}


def atlas(
    backend: str, bits: int, repeats: int, layers: int, only: list[str] | None
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the numbers of each estimator."""
    i, split = backends.load(backend).inference, data.load("digits")
    made = pair(backend, split, "bernoulli", layers, sizes=(bits // layers, 0), hidden=50)
    fit = i.SVI(i.TraceEnumELBO(), epochs=2, batch_size=100).fit(*made, split)
    x = split.train[:IMAGES]
    guide = {name for name, owner in i.owners(fit.pair).items() if owner == "guide"}

    def gradients(objective: Any, repeats: int) -> tuple[np.ndarray, float]:
        rows, times, index = [], [], np.tile(np.arange(len(x)), (repeats, 1))
        for drawn, spent in i.draw_gradients(fit.pair, objective, x, index, range(repeats)):
            rows.append(np.concatenate([np.reshape(a, (len(a), -1)) for n, a in drawn.items() if n in guide], 1))
            times += [] if spent is None else [spent]
        return np.concatenate(rows), 1e3 * float(np.median(times))

    exact, milliseconds = gradients(i.TraceEnumELBO(), 8)
    right, size = exact[0], float(np.linalg.norm(exact[0]))
    yield "enumeration", {"bias": 0.0, "chance": 0.0, "noise": 0.0, "milliseconds": milliseconds}
    for name, (objective, runs) in of_atlas(i, bits, layers).items():
        if only and name not in only:
            continue
        drawn, milliseconds = gradients(objective, repeats)
        variance = float(drawn.var(0, ddof=1).sum()) / size**2
        bias = float(np.linalg.norm(drawn.mean(0) - right)) / size
        chance = float(np.sqrt(variance / len(drawn)))
        yield name, {"bias": bias, "chance": chance, "noise": runs * variance, "milliseconds": milliseconds}


def pair(
    backend: str,
    split: data.Split,
    latents: str,
    layers: int,
    sizes: tuple[int, int] = (BITS, VARIABLES),
    hidden: int = HIDDEN,
) -> tuple[Any, Any]:
    """The model and the guide; ``sizes`` are the bits and the variables of a layer."""
    bits, variables = sizes
    rng, pixels = seeds.generator(0, "weights"), split.train.shape[1]
    if layers == 1:
        more: dict[str, Any] = {"latent_dim": bits} if latents == "bernoulli" else {"latent_dim": variables}
        more |= {} if latents == "bernoulli" else {"num_categories": CATEGORIES}
        return recipes.vae(split, latents=latents, hidden=(hidden,), backend=backend, **more)(rng)
    b = backends.load(backend)
    width = bits if latents == "bernoulli" else variables * CATEGORIES

    def net(inp: int, out: int, *, codes: bool) -> Any:
        plain = b.nets.MLP((inp, hidden, out), rng)
        return b.nets.OneHot(plain, CATEGORIES) if codes and latents == "categorical" else plain

    def given(net: Any) -> Any:
        conditionals = b.conditionals
        return conditionals.Bernoulli(net) if latents == "bernoulli" else conditionals.Categorical(net, CATEGORIES)

    prior = (
        b.priors.FactorisedBernoulli(bits)
        if latents == "bernoulli"
        else b.priors.UniformCategorical(variables, CATEGORIES)
    )
    model = b.models.HVAE(
        prior, given(net(width, width, codes=True)), b.conditionals.Bernoulli(net(width, pixels, codes=True))
    )
    return model, b.guides.BottomUp(given(net(pixels, width, codes=False)), given(net(width, width, codes=True)))


def cells(backend: str) -> Iterator[tuple[str, int, str, Any]]:
    """Every (latents, layers, estimator, objective) that is trained."""
    i = backends.load(backend).inference
    for layers in (1, 2):
        for latents in ("bernoulli", "categorical"):
            for name, (objective, _) in estimators(i, bits=latents == "bernoulli", layers=layers).items():
                yield latents, layers, name, objective


def fits(backend: str) -> str:
    """A table of the latents that each estimator takes; what it says where it refuses stands below."""
    b, split = backends.load(backend), data.load("digits").subset(20, 10, 10)
    kinds = [(latents, layers) for layers in (1, 2) for latents in ("bernoulli", "categorical")]
    made = {kind: b.inference.Pair(*pair(backend, split, *kind, sizes=(3, 2), hidden=4)) for kind in kinds}
    sites = {kind: of.prepare(split.train, 0) for kind, of in made.items()}
    rows, said = [], {}
    for name, (objective, _) in {**estimators(b.inference), **estimators(b.inference, layers=2)}.items():
        row = [name]
        for kind in kinds:
            try:
                objective.check(sites[kind])
                row.append("yes")
            except UnsuitableObjective as error:
                row.append(str(said.setdefault(str(error).partition(" ")[2], len(said) + 1)))
        rows.append(row)
    head = ["estimator", *(f"{latents}, {layers} layer{'s' * (layers - 1)}" for latents, layers in kinds)]
    return "\n".join([table(head, rows), "", *(f"{number}. {text}" for text, number in said.items())])


def trained(backend: str, split: data.Split, latents: str, layers: int, objective: Any, args: Any) -> dict[str, Any]:
    """The numbers of one cell, nats per image."""
    i = backends.load(backend).inference
    began = time.perf_counter()
    svi = i.SVI(objective, epochs=args.epochs, batch_size=100, learning_rate=1e-3)
    fit = svi.fit(*pair(backend, split, latents, layers), split, seed=0)
    seconds, test = time.perf_counter() - began, some_of(split.test, args.images)
    return {
        "objective": -float(fit.history["loss"][-1]),
        "is_bound": objective.is_bound,
        "elbo": evaluation.elbo(fit, test, 20).mean,
        "log_p": evaluation.log_likelihood(fit, test, args.draws).mean,
        "epochs": args.epochs,
        "images": len(test),
        "draws": args.draws,
        "seconds": seconds,
    }


def some_of(images: np.ndarray, number: int) -> np.ndarray:
    """Images at random, the same for every cell: static MNIST's test images are sorted by digit."""
    return images[seeds.generator(0, "images").permutation(len(images))[:number]]


def file_of(folder: Path, *names: Any) -> Path:
    """The file of a cell."""
    return folder / ("-".join(str(name) for name in names).replace(", ", "-").replace(" ", "_") + ".json")


def read(path: Path) -> dict[str, Any] | None:
    """The numbers of a cell; None where it was not run."""
    return json.loads(path.read_text()) if path.exists() else None


def write(path: Path, row: dict[str, Any]) -> None:
    """Keep a cell's numbers, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(row, indent=1))
    part.replace(path)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def atlas_table(folder: Path, bits: int, layers: int) -> str:
    """The atlas of both backends."""
    head = ["estimator", *(f"{what}, {b}" for b in backends.NAMES for what in ("bias ± chance", "noise", "ms"))]
    rows = []
    for name in ("enumeration", *of_atlas(backends.load("pyro").inference, bits, layers)):
        row = [name]
        for backend in backends.NAMES:
            found = read(file_of(folder, ATLAS[layers], bits, backend, name))
            row += (
                ["not run"] * 3
                if found is None
                else [
                    f"{found['bias']:.3f} ± {found['chance']:.3f}",
                    f"{found['noise']:.3g}",
                    f"{found['milliseconds']:.2f}",
                ]
            )
        rows.append(row)
    return table(head, rows)


def trained_table(folder: Path, name: str, backend: str) -> str:
    """The trained pairs of a data set."""
    rows = []
    for latents, layers, estimator, _ in cells(backend):
        row = read(file_of(folder, name, backend, latents, layers, estimator))
        published = PUBLISHED.get((latents, estimator)) if (name, layers) == ("static_mnist", 1) else None
        cited = "" if published is None else f"-{published}"
        values = ["not run"] + [""] * 4
        if row is not None:
            objective = f"{row['objective']:.2f}" + ("" if row["is_bound"] else ", no bound")
            values = [
                objective,
                f"{row['elbo']:.2f}",
                f"{row['log_p']:.2f}",
                str(row["epochs"]),
                f"{row['seconds']:.0f}",
            ]
        rows.append([latents, str(layers), estimator, *values, cited])
    head = ["latents", "layers", "estimator", "training objective", "ELBO", "log p(x)", "epochs", "s", "published"]
    return table(head, rows)


def draw(folder: Path, bits: int, backend: str, name: str) -> Figure:
    """Bias, noise and what training made, a row for each estimator, the quietest at the top."""
    names = of_atlas(backends.load(backend).inference, bits, layers=1)
    found = {n: read(file_of(folder, "atlas", bits, backend, n)) for n in names}
    shown = {n: row for n, row in sorted(found.items(), key=lambda item: -item[1]["noise"] if item[1] else 0) if row}
    biased = np.array([n.startswith(("Gumbel", "straight")) for n in shown])  # in their mean, by construction
    colours, places = np.where(biased, "C1", "C0"), np.arange(len(shown))
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True)
    noise = [row["noise"] for row in shown.values()]
    left.scatter(noise, places, color=colours, s=45)
    left.hlines(places, min(noise) / 3, noise, color=colours, linewidth=1)
    left.set_xscale("log")
    left.set_yticks(places, list(shown))
    left.set_title("noise: variance x runs of the model")
    middle.barh(places, [row["bias"] for row in shown.values()], color=colours)
    middle.plot([3 * row["chance"] for row in shown.values()], places, "k|", markersize=11, label="3 x chance")
    middle.set_xlim(0, 1.1 * max(row["bias"] for row, b in zip(shown.values(), biased, strict=True) if b))
    middle.legend(loc="center right")
    for place, row in zip(places, shown.values(), strict=True):
        if row["bias"] > middle.get_xlim()[1]:
            middle.text(0.05, place, f"{row['bias']:.1f}, chance {row['chance']:.1f}", color="w", va="center")
    middle.set_title("bias / norm of the gradient")
    for place, estimator, colour in zip(places, shown, colours, strict=True):
        row = read(file_of(folder, name, "numpyro", "bernoulli", 1, estimator))
        if row is not None:
            right.scatter(row["log_p"], place, color=colour, s=45)
            right.scatter(row["elbo"], place, edgecolor=colour, facecolor="none", s=45)
    right.scatter([], [], color="grey", s=45, label="log p(x)")
    right.scatter([], [], edgecolor="grey", facecolor="none", s=45, label="ELBO")
    right.legend(loc="center left")
    right.set_title(f"200 bits on {name}, nats")
    for axes in (left, middle, right):
        axes.grid(axis="x", alpha=0.3)
    figure.suptitle("Gradients through bits, by estimator: blue is unbiased, orange is biased")
    return figure


def main() -> None:
    """Run what is asked for and not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("atlas", "fits", "train", "page"))
    parser.add_argument("--backends", nargs="+", default=list(backends.NAMES), choices=backends.NAMES)
    parser.add_argument("--bits", type=int, default=8, help="6 to 12")
    parser.add_argument("--repeats", type=int, default=1000, help="gradients of each estimator")
    parser.add_argument("--data", default="digits", choices=("digits", "static_mnist"))
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--images", type=int, default=2000, help="test images that are evaluated, at random")
    parser.add_argument("--draws", type=int, default=200, help="for log p(x)")
    parser.add_argument("--only", nargs="+", help="names of estimators")
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/estimators"))
    args = parser.parse_args()
    if "pyro" in args.backends:
        import torch

        torch.set_num_threads(1)
    if args.what == "atlas":
        for backend in args.backends:
            for layers in args.layers:
                for name, row in atlas(backend, args.bits, args.repeats, layers, args.only):
                    write(file_of(args.out, ATLAS[layers], args.bits, backend, name), row)
                    told = {key: round(value, 3) for key, value in row.items()}
                    print(backend, layers, name, told, flush=True)
    elif args.what == "fits":
        print(fits(args.backends[-1]))
    elif args.what == "train":
        backend, split = args.backends[-1], data.load(args.data)
        for latents, layers, name, objective in cells(backend):
            path = file_of(args.out, args.data, backend, latents, layers, name)
            if path.exists() or layers not in args.layers or (args.only and name not in args.only):
                continue
            write(path, trained(backend, split, latents, layers, objective, args))
            print(path.stem, path.read_text().replace("\n", ""), flush=True)
    else:
        for layers in args.layers:
            print(f"\n{args.bits} bits in {layers} layers\n\n{atlas_table(args.out, args.bits, layers)}")
        for name in ("digits", "static_mnist"):
            print(f"\n{name}\n\n{trained_table(args.out, name, 'numpyro')}")
        plots.save(draw(args.out, args.bits, "numpyro", args.data), args.out / "estimators.png")


if __name__ == "__main__":
    main()
