"""How near does each family of guides come? Posteriors of two numbers, drawn beside what fits them, with the KL.

    python examples/flexible_posteriors.py                    # two minutes
    python examples/flexible_posteriors.py --backend numpyro  # three and a half

A program says an unnormalised posterior by a factor: z ~ N(0, 3^2 I) times exp(-U(z)), with U of a banana, two moons, a
mixture of three normals or a ring. Each guide is fitted by the ELBO; beside them are two automatic guides of the
library, fitted by its own SVI. KL(q || p) in nats is a sum over a grid, of which the normalisation of q is a check. The
figure has the densities of the guides, under contours of the exact one at 10 % and 50 % of its mode.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ppl_vae import backends, plots, seeds
from ppl_vae.arrays import flows, ops
from ppl_vae.runtime import folders, scripts

WIDE, REACH, POINTS = 3.0, 5.0, 251
"""Standard deviation of the prior; the grid's half width and points along a side."""
ROWS, STEPS = 100, 600
"""Draws of a step, and steps of a training."""


def banana(z: Any) -> Any:
    """A curved ridge."""
    return 0.5 * ((z[..., 1] + 1.5 - 0.5 * z[..., 0] * z[..., 0]) / 0.4) ** 2 + 0.5 * (z[..., 0] / 1.5) ** 2


def log_sum(*terms: Any) -> Any:
    """log of a sum of exponentials."""
    return ops.logsumexp(ops.concatenate([term[None] for term in terms]), 0)


def radius(z: Any) -> Any:
    """|z|."""
    return ops.sqrt((z * z).sum(-1) + 1e-6)


def moons(z: Any) -> Any:
    """Two arcs of a circle (Rezende and Mohamed, 2015)."""
    sides = [-0.5 * ((z[..., 0] - at) / 0.6) ** 2 for at in (-2.0, 2.0)]
    return 0.5 * ((radius(z) - 2.0) / 0.4) ** 2 + np.log(2) - log_sum(*sides)


def mixture(z: Any) -> Any:
    """Three normals."""
    parts = [(0.5, -1.8, -1.0, 0.6), (0.3, 1.8, -1.0, 0.5), (0.2, 0.0, 1.8, 0.4)]
    return -log_sum(*(np.log(w) - 0.5 * ((z[..., 0] - a) ** 2 + (z[..., 1] - b) ** 2) / s**2 for w, a, b, s in parts))


def ring(z: Any) -> Any:
    """A circle."""
    return 0.5 * ((radius(z) - 2.5) / 0.35) ** 2


POSTERIORS: dict[str, Callable[[Any], Any]] = {"banana": banana, "two moons": moons, "mixture": mixture, "ring": ring}


def pyro_model(energy: Callable[[Any], Any]) -> Any:
    """The program in Pyro."""
    import pyro
    import pyro.distributions as dist
    import torch

    def model(x: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), WIDE).to_event(1))
            pyro.factor("energy", -energy(z))

    return model


def numpyro_model(energy: Callable[[Any], Any]) -> Any:
    """The program in NumPyro."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    def model(x: Any) -> None:
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(2), WIDE).to_event(1))
            numpyro.factor("energy", -energy(z))

    return model


Make = Callable[[Any, np.random.Generator], Any]


def flow(steps: Callable[[Any, np.random.Generator], list[Any]]) -> Make:
    """A normal through steps, whose parameters the net has for the one datum that there is."""
    return lambda b, rng: b.conditionals.Flow(
        b.conditionals.DiagNormal(b.nets.MLP((1, 4 + 1), rng)), 1, steps(b.nets, rng)
    )


COMPONENTS = 8
"""Normals of a mixture; every one has a draw in each step."""
SPLINE = flows.Spline(8, REACH)
GUIDES: dict[str, Make] = {
    "normal": lambda b, rng: b.conditionals.FullNormal(b.nets.MLP((1, 5), rng), 2),
    "normals": lambda b, rng: b.conditionals.Mixture(b.nets.MLP((1, 16), rng), COMPONENTS, 16, 2, rng, spread=2.0),
    "planar": flow(lambda n, rng: [n.Planar(2, 1, rng) for _ in range(12)]),
    "radial": flow(lambda n, rng: [n.Radial(2, 1, rng) for _ in range(12)]),
    "Sylvester": flow(lambda n, rng: [n.Sylvester(2, 1, rng, reflections=2) for _ in range(8)]),
    "coupling": flow(lambda n, rng: [n.Coupling(2, (32,), rng, context=1, swapped=bool(k % 2)) for k in range(6)]),
    "IAF": flow(
        lambda n, rng: [n.Autoregressive(2, (32,), rng, context=1, order=(k % 2, 1 - k % 2)) for k in range(4)]
    ),
    "spline": flow(
        lambda n, rng: [n.Coupling(2, (32,), rng, context=1, swapped=bool(k % 2), scalar=SPLINE) for k in range(4)]
    ),
}


def ours(name: str, model: Any, args: argparse.Namespace) -> Callable[[np.ndarray], np.ndarray]:
    """Fit a guide by our SVI: z (M, 2) -> log q(z)."""
    b = backends.load(args.backend)
    guide = b.guides.Amortised(GUIDES[name](b, seeds.generator(args.seed, "weights")))
    x = np.ones((ROWS * args.steps // 4, 1))
    loss = b.inference.MISELBO(COMPONENTS) if name == "normals" else b.inference.TraceELBO()
    svi = b.inference.SVI(loss, epochs=4, batch_size=ROWS, learning_rate=1e-2)
    fit = svi.fit(model, guide, x, seed=args.seed)
    return density(args.backend, lambda one: fit.guide.posterior(one))


def density(backend: str, posterior: Callable[[Any], Any]) -> Callable[[np.ndarray], np.ndarray]:
    """The log-density of a distribution given the datum, of NumPy arrays."""
    if backend == "pyro":
        import torch

        def log_q(z: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                q = posterior(torch.ones(1, 1))
                return q.log_prob(torch.tensor(z, dtype=torch.float32)).numpy()
    else:
        import jax
        import jax.numpy as jnp

        def log_q(z: np.ndarray) -> np.ndarray:
            return np.asarray(jax.jit(lambda a: posterior(jnp.ones((1, 1))).log_prob(a))(jnp.asarray(z, jnp.float32)))

    return log_q


def automatic(name: str, model: Any, args: argparse.Namespace) -> Callable[[np.ndarray], np.ndarray]:
    """Fit an automatic guide of the library by its SVI: z (M, 2) -> log q(z)."""
    if args.backend == "pyro":
        import pyro
        import torch
        from pyro.infer import SVI, Trace_ELBO, autoguide

        pyro.clear_param_store()
        pyro.set_rng_seed(args.seed)
        options = {"hidden_dim": [32], "num_transforms": 4} if name == "AutoIAFNormal" else {}
        guide, x = getattr(autoguide, name)(model, **options), torch.ones(1, 1)
        loss = Trace_ELBO(num_particles=20, vectorize_particles=True, max_plate_nesting=1)
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), loss)
        for _ in range(args.steps):
            svi.step(x)
        return density("pyro", lambda _: guide.get_posterior())
    import jax
    import jax.numpy as jnp
    from numpyro.infer import SVI, Trace_ELBO, autoguide
    from numpyro.optim import Adam

    options = {"hidden_dims": [32], "num_flows": 4} if name == "AutoIAFNormal" else {}
    guide = getattr(autoguide, name)(model, **options)
    svi = SVI(model, guide, Adam(1e-2), Trace_ELBO(num_particles=ROWS))
    params = svi.run(jax.random.key(args.seed), args.steps, jnp.ones((1, 1)), progress_bar=False).params
    return density("numpyro", lambda _: guide.get_posterior(params))


AUTOMATIC = ("AutoMultivariateNormal", "AutoIAFNormal")


def grid() -> tuple[np.ndarray, float]:
    """Points (M, 2), and the area of each."""
    side = np.linspace(-REACH, REACH, POINTS)
    return np.stack(np.meshgrid(side, side), -1).reshape(-1, 2), float(side[1] - side[0]) ** 2


def exact(energy: Callable[[Any], Any], z: np.ndarray, area: float) -> np.ndarray:
    """log p(z | 0) on the grid."""
    log_p = -0.5 * (z * z).sum(-1) / WIDE**2 - energy(z)
    return log_p - np.log(np.exp(log_p).sum() * area)


def figure(found: dict[str, dict[str, np.ndarray]], table: pd.DataFrame) -> Figure:
    """A row for each posterior, a column for it and for each guide."""
    columns = list(next(iter(found.values())))
    drawn = Figure(figsize=(1.25 * len(columns), 1.45 * len(found) + 0.3), layout="constrained")
    cells = [(name, column) for name in found for column in columns]
    grid_of_axes = drawn.subplots(len(found), len(columns), squeeze=False)
    for axes, (name, column) in zip(grid_of_axes.flat, cells, strict=True):
        q, p = (np.exp(found[name][of]).reshape(POINTS, POINTS) for of in (column, "exact"))
        axes.imshow(q, origin="lower", extent=(-REACH, REACH) * 2, cmap="Blues", vmax=1.2 * p.max(), vmin=0)
        if column != "exact":
            at = np.linspace(-REACH, REACH, POINTS)
            axes.contour(at, at, p, levels=[0.1 * p.max(), 0.5 * p.max()], colors="#b03a2e", linewidths=0.6)
            axes.set_xlabel(f"KL {table.loc[name, column]:.2f}", fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
        if name == next(iter(found)):
            axes.set_title(column.replace("Auto", "Auto\n") if "Auto" in column else column, fontsize=8)
        if column == "exact":
            axes.set_ylabel(name, fontsize=9)
    return drawn


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of each training, of {ROWS} draws")
    parser.add_argument("--guides", nargs="+", default=[*GUIDES, *AUTOMATIC], choices=[*GUIDES, *AUTOMATIC])
    parser.add_argument("--posteriors", nargs="+", default=list(POSTERIORS), choices=POSTERIORS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder; by default runs/flexible-posteriors-<backend>")
    parser.add_argument("--smoke", action="store_true", help="a few steps: seconds")
    return parser.parse_args()


def main() -> None:
    """Fit every guide to every posterior, print the table of KL, draw the densities."""
    args = arguments()
    args.steps = 8 if args.smoke else args.steps
    out = args.out or Path("runs") / f"flexible-posteriors-{args.backend}"
    z, area = grid()
    found: dict[str, dict[str, np.ndarray]] = {}
    table, mass = pd.DataFrame(dtype=float), pd.DataFrame(dtype=float)
    folders.claim(out, "the work of examples/flexible_posteriors.py")
    if args.backend == "pyro":
        import torch

        torch.set_num_threads(1)  # nets this small run faster on one thread
    for name in args.posteriors:
        model = (pyro_model if args.backend == "pyro" else numpyro_model)(POSTERIORS[name])
        log_p = exact(POSTERIORS[name], z, area)
        found[name] = {"exact": log_p}
        for kind in args.guides:
            print(f"{name}: {kind}", file=sys.stderr)
            fitted = ours(kind, model, args) if kind in GUIDES else automatic(kind, model, args)
            log_q = fitted(z).astype(np.float64)
            found[name][kind] = log_q
            table.loc[name, kind] = (np.exp(log_q) * (log_q - log_p)).sum() * area
            mass.loc[name, kind] = np.exp(log_q).sum() * area
    table.to_csv(out / "kl.csv", index_label="posterior")
    mass.to_csv(out / "mass.csv", index_label="posterior")
    plots.save(figure(found, table), out / "densities.png")
    print(f"KL(q || p) in nats\n{table.round(3).to_string()}\n")
    print(f"Share of q on the grid: {mass.min(axis=None):.4f} to {mass.max(axis=None):.4f}. Written to {out}")


if __name__ == "__main__":
    sys.exit(scripts.run(main))
