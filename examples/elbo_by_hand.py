"""The ELBO by hand: a lecture's pictures of variational inference, drawn from two models of one hidden number each.

    python examples/elbo_by_hand.py                      # half a minute on two cores
    python examples/elbo_by_hand.py --backend numpyro    # the same numbers: exactly, or within their errors

On which side? One number x is seen, whose hidden side z has a guide that can be the posterior for any theta:

    z ~ Bernoulli(0.7);  x | z ~ N(theta, 1) where z = 1, N(-theta, 1) where z = 0;  q(z = 1) = phi

``bounds.png``: log p(x; theta) and the ELBO of two phi as curves over theta, which touch where q is the posterior.
``em.png``: EM as a staircase in the (theta, phi) plane, over the contours of the ELBO.

Where? An object on a line is seen at a distance x from a beacon at -1, which leaves it two places:

    z ~ N(1, 9);  x | z ~ N(|z + 1|, 1);  q(z) = N(mean, variance)

No Gaussian is this posterior. ``guesses.png``: two of them, N(2, 2) and N(-4, 0.75), the second number being the
variance, their KL(q || p(z | x)), and where gradient ascent takes them. ``gradients.png``: REINFORCE, without and with
a baseline, and reparameterisation: one gradient, and its variance against the number of draws.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats
from scipy.integrate import simpson
from scipy.special import expit, logit

from ppl_vae import backends, baselines, bounds, plots, seeds
from ppl_vae.arrays import ops
from ppl_vae.objectives import TermsRequest
from ppl_vae.objectives.gradients import Enumeration, Reinforce
from ppl_vae.pairs.terms import Terms
from ppl_vae.results import Fit
from ppl_vae.runtime import folders, scripts

SEEN, RIGHT = 1.5, 0.7
"""x of the first model, and the chance that z = 1."""
PHIS, STARTS = (0.25, 0.9), (-0.6, -0.2)
"""The bounds drawn, and the theta that EM starts from."""
DEPTHS = (6, 4.5, 3.2, 2.2, 1.5, 1.1, 0.93, 0.86, 0.83, 0.7, 0.45, 0.25, 0.1, 0.03)
"""How far below its top the ELBO's contours lie, nats."""
DISTANCE, BEACON, PRIOR = 3.0, -1.0, (1.0, 3.0)
"""x of the second model, and the mean and standard deviation of its prior."""
GUESSES = {"N(2, 2)": (2.0, 2.0), "N(-4, 0.75)": (-4.0, 0.75)}
"""Name -> mean and variance."""
DRAWS = 20_000
"""Of each guess: few enough would miss the other place, and what it adds, with their error none the wiser."""
Z = np.linspace(-14, 16, 6001)
"""The grid of the quadrature."""
Sides = Callable[[np.ndarray, np.ndarray], Terms]
Place = Callable[[float, float], tuple[Any, Any]]


def pyro_programs() -> tuple[Sides, Place]:
    """The first model's terms at points of the (theta, phi) plane, and the second's model and guide."""
    import pyro
    import torch
    from pyro.distributions import Bernoulli, Normal

    from ppl_vae import inference

    def model(x: Any, *, given: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", Bernoulli(torch.full((1,), RIGHT)).to_event(1))
            pyro.sample("x", Normal((2 * z - 1) * given[:, :1], 1.0).to_event(1), obs=x)

    def guide(x: Any, *, given: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", Bernoulli(given[:, 1:]).to_event(1))

    def sides(theta: np.ndarray, phi: np.ndarray) -> Terms:
        plane = torch.tensor(np.stack([theta, phi], 1), dtype=torch.float32)
        x = torch.full((len(plane), 1), SEEN)
        return inference.log_terms(model, guide, x, given=plane, request=TermsRequest(gradient=Enumeration()))

    def place(mean: float, variance: float) -> tuple[Any, Any]:
        def model(x: Any) -> None:
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", Normal(torch.full((1,), PRIOR[0]), PRIOR[1]).to_event(1))
                pyro.sample("x", Normal((z - BEACON).abs(), 1.0).to_event(1), obs=x)

        def guide(x: Any) -> None:
            loc = pyro.param("mean", torch.tensor([mean]))
            log_scale = pyro.param("log_scale", torch.tensor([0.5 * np.log(variance)], dtype=torch.float32))
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", Normal(loc, log_scale.exp()).to_event(1))

        return model, guide

    return sides, place


def numpyro_programs() -> tuple[Sides, Place]:
    """The same in NumPyro."""
    import jax
    import jax.numpy as jnp
    import numpyro
    from numpyro.distributions import Bernoulli, Normal

    from ppl_vae.numpyro import inference

    def model(x: Any, *, given: Any) -> None:
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", Bernoulli(jnp.full(1, RIGHT)).to_event(1))
            numpyro.sample("x", Normal((2 * z - 1) * given[:, :1], 1.0).to_event(1), obs=x)

    def guide(x: Any, *, given: Any) -> None:
        with numpyro.plate("data", len(x), dim=-1):
            numpyro.sample("z", Bernoulli(given[:, 1:]).to_event(1))

    def sides(theta: np.ndarray, phi: np.ndarray) -> Terms:
        plane = jnp.stack([theta, phi], 1)
        x, key = jnp.full((len(plane), 1), SEEN), jax.random.key(0)
        return inference.log_terms(model, guide, x, given=plane, request=TermsRequest(gradient=Enumeration()), key=key)

    def place(mean: float, variance: float) -> tuple[Any, Any]:
        def model(x: Any) -> None:
            with numpyro.plate("data", len(x), dim=-1):
                z = numpyro.sample("z", Normal(jnp.full(1, PRIOR[0]), PRIOR[1]).to_event(1))
                numpyro.sample("x", Normal(jnp.abs(z - BEACON), 1.0).to_event(1), obs=x)

        def guide(x: Any) -> None:
            loc = numpyro.param("mean", jnp.array([mean]))
            log_scale = numpyro.param("log_scale", jnp.array([0.5 * np.log(variance)]))
            with numpyro.plate("data", len(x), dim=-1):
                numpyro.sample("z", Normal(loc, jnp.exp(log_scale)).to_event(1))

        return model, guide

    return sides, place


def known(sides: Sides, theta: Any, phi: Any) -> pd.DataFrame:
    """log p(x; theta), its bound at phi and p(z = 1 | x; theta), by summing over both sides."""
    theta, phi = np.broadcast_arrays(np.atleast_1d(theta), np.atleast_1d(phi))
    terms = sides(theta, phi)
    log_lik, log_prior, log_guide = (np.asarray(a, np.float64) for a in terms[:3])
    log_p = ops.logsumexp(log_lik + log_prior, 0)
    elbo = bounds.enumerated(Terms(log_lik, log_prior, log_guide))
    posterior = np.exp(log_lik + log_prior - log_p)[1]
    return pd.DataFrame({"theta": theta, "phi": phi, "elbo": elbo, "log_p": log_p, "posterior": posterior})


def touching(phi: float) -> float:
    """The theta at which phi is the posterior: logit p(z = 1 | x; theta) = 2 theta x + logit 0.7."""
    return float((logit(phi) - logit(RIGHT)) / (2 * SEEN))


def draw_bounds(table: pd.DataFrame) -> Figure:
    """The bounds below log p(x; theta), and where they touch it."""
    figure = Figure(figsize=(plots.WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    curve = table[table["phi"] == PHIS[0]]
    axes.plot(curve["theta"], curve["log_p"], color="black", linewidth=2, label="log p(x; θ)")
    for phi, colour, style in zip(PHIS, plots.COLOURS, ("--", "-."), strict=False):
        rows = table[table["phi"] == phi]
        at = touching(phi)
        label = f"ELBO(θ, φ = {phi:g}), touching at θ = {at:.2f}"
        place = [int(np.searchsorted(rows["theta"], at))]
        axes.plot(rows["theta"], rows["elbo"], f"{style}o", color=colour, markevery=place, label=label)
    axes.set(ylim=(curve["log_p"].min() - 1, curve["log_p"].max() + 0.3), xlabel="θ", ylabel="nats")
    axes.set_title("log p(x; θ) and its lower bounds for two φ")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def climb(sides: Sides, theta: float, steps: int = 8) -> pd.DataFrame:
    """EM from theta: E, phi becomes the posterior; M, theta becomes the top of the bound, (2 phi - 1) x."""
    phi, rows = 0.5, []
    for number in range(2 * steps + 1):
        rows.append(known(sides, theta, phi).assign(step=("start" if number == 0 else "EM"[(number + 1) % 2])))
        if number % 2 == 0:
            phi = float(rows[-1]["posterior"].iloc[0])
        else:
            theta = (2 * phi - 1) * SEEN
    return pd.concat(rows, ignore_index=True)


def draw_em(sides: Sides, paths: dict[str, pd.DataFrame]) -> Figure:
    """Contours of the ELBO with EM's staircases, and the ELBO below log p(x; theta) by step."""
    theta, phi = np.meshgrid(np.linspace(-2.6, 2.6, 131), np.linspace(0.005, 0.995, 100))
    height = known(sides, theta.ravel(), phi.ravel())["elbo"].to_numpy().reshape(theta.shape)
    figure = Figure(figsize=(plots.WIDTH, 4.4), layout="constrained")
    plane, rise = figure.subplots(1, 2, width_ratios=(3, 2))
    levels = height.max() - np.array(DEPTHS)
    plane.contour(theta, phi, height, levels, colors="0.72", linewidths=0.8, linestyles="solid")
    plane.plot(theta[0], expit(2 * theta[0] * SEEN + logit(RIGHT)), ":", color="black", label="E: φ is the posterior")
    plane.plot((2 * phi[:, 0] - 1) * SEEN, phi[:, 0], "--", color="black", linewidth=1, label="M: θ is the top")
    for (name, path), colour, marker in zip(paths.items(), plots.COLOURS, "os", strict=False):
        plane.plot(path["theta"], path["phi"], f"-{marker}", color=colour, markersize=4, label=f"EM from θ = {name}")
        rise.plot(path.index, path["elbo"], f"-{marker}", color=colour, markersize=4)
        rise.plot(path.index, path["log_p"], ":", color=colour)
    plane.set(xlabel="θ", ylabel="φ = q(z = 1)", title="Coordinate ascent: E moves φ, M moves θ")
    rise.set(xlabel="half steps: E, M, E, M, ...", ylabel="nats", title="The ELBO and, dotted, log p(x; θ)")
    figure.legend(*plane.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def log_joint(z: np.ndarray) -> np.ndarray:
    """log p(x, z) of the second model, by SciPy."""
    return stats.norm.logpdf(z, *PRIOR) + stats.norm.logpdf(DISTANCE, np.abs(z - BEACON))


def evidence() -> float:
    """log p(x) of the second model, by quadrature."""
    return float(np.log(simpson(np.exp(log_joint(Z)), x=Z)))


def log_ratio(z: np.ndarray, mean: float, variance: float) -> np.ndarray:
    """log q(z) - log p(z | x)."""
    return stats.norm.logpdf(z, mean, np.sqrt(variance)) - log_joint(z) + evidence()


def kl_of(mean: float, variance: float) -> float:
    """KL(q || p(z | x)), by quadrature."""
    return float(simpson(stats.norm.pdf(Z, mean, np.sqrt(variance)) * log_ratio(Z, mean, variance), x=Z))


def judge(fit: Fit, seed: int) -> dict[str, float]:
    """KL(q || p(z | x)) by quadrature and by draws of SciPy's, the ELBO by draws of the fit's, and their errors."""
    x = np.array([[DISTANCE]])
    mean, deviation = (float(moment[0, 0]) for moment in fit.posterior(x)["z"])
    z = seeds.generator(seed, "guess").normal(mean, deviation, DRAWS)
    sampled, log_w = log_ratio(z, mean, deviation**2), fit.terms(x, DRAWS, seed=seed).log_weights
    return {
        "mean": mean,
        "variance": deviation**2,
        "kl": kl_of(mean, deviation**2),
        "kl_sampled": sampled.mean(),
        "kl_error": sampled.std() / np.sqrt(DRAWS),
        "elbo": log_w.mean(),
        "elbo_error": log_w.std() / np.sqrt(DRAWS),
        "log_p": evidence(),
    }


def draw_guesses(table: pd.DataFrame) -> Figure:
    """The posterior, the two guesses, and where they climb to."""
    figure = Figure(figsize=(plots.WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    z = Z[(Z > -8) & (Z < 8)]
    axes.fill_between(z, np.exp(log_joint(z) - evidence()), color="0.85", label="p(z | x), by quadrature")
    for place, (name, row) in enumerate(table.set_index("q").iterrows()):
        q = stats.norm.pdf(z, row["mean"], np.sqrt(row["variance"]))
        style = "--" if "climbed" in str(name) else "-"
        axes.plot(z, q, style, color=plots.COLOURS[place // 2], label=f"{name}: KL {row['kl']:.3f} nats")
    axes.set(
        xlabel="z",
        ylabel="density",
        title="KL(q || p(z | x)) of two guesses, and of what gradient ascent makes of them",
    )
    axes.set_ylim(0, 1.45 * axes.get_ylim()[1])
    axes.legend(frameon=False, ncols=2, loc="upper center")
    return figure


def estimators(inference: ModuleType) -> dict[str, Callable[[int], Any]]:
    """Name -> the objective with so many draws. REINFORCE is ``TraceGraphELBO`` without the path of the draws."""

    @dataclass(frozen=True)
    class ScoredELBO(inference.TraceGraphELBO):  # type: ignore[name-defined,misc]
        @property
        def request(self) -> TermsRequest:
            return replace(super().request, gradient=Reinforce())

        def check(self, sites: Any) -> None:
            pass

    return {
        "REINFORCE": ScoredELBO,
        "REINFORCE, leave-one-out": lambda draws: ScoredELBO(draws, baseline=baselines.LeaveOneOut()),
        "reparameterised": inference.TraceELBO,
    }


def exact_gradient(mean: float, variance: float) -> dict[str, float]:
    """d ELBO / d (mean, log scale) by quadrature."""
    q, u = stats.norm.pdf(Z, mean, np.sqrt(variance)), (Z - mean) / np.sqrt(variance)
    ascent = -q * log_ratio(Z, mean, variance)
    return {"mean": simpson(ascent * u, x=Z) / np.sqrt(variance), "log_scale": simpson(ascent * (u**2 - 1), x=Z)}


def gradients(inference: ModuleType, place: Place, draws: list[int], repeats: int, seed: int) -> pd.DataFrame:
    """Mean and variance of each estimator's gradient at N(2, 2), beside the exact one."""
    guess, x, rows = GUESSES["N(2, 2)"], np.array([[DISTANCE]]), []
    pair = Fit.untrained(inference.Pair(*place(*guess)), x).pair
    exact = exact_gradient(*guess)
    for name, objective in estimators(inference).items():
        for number in draws:
            if number == 1 and "leave" in name:
                continue
            of = [seeds.derive(seed, name, number, repeat) for repeat in range(repeats)]
            drawn = inference.draw_gradients(pair, objective(number), x, np.zeros((repeats, 1), int), of)
            parts = [part for part, _ in drawn]
            for parameter in exact:
                (key,) = (k for k in parts[0] if k.endswith(parameter))
                values = np.concatenate([part[key].ravel() for part in parts])
                row = {"estimator": name, "draws": number, "parameter": parameter, "exact": exact[parameter]}
                row |= {"mean": values.mean(), "error": values.std(ddof=1) / np.sqrt(repeats)}
                rows.append(row | {"variance": values.var(ddof=1)})
    return pd.DataFrame(rows)


def draw_gradients(table: pd.DataFrame) -> Figure:
    """For each parameter the mean gradient with two errors, above the variance, against the number of draws."""
    figure = Figure(figsize=(plots.WIDTH, 6.4), layout="constrained")
    figure.suptitle("The gradient of the ELBO at q = N(2, 2)")
    grid = figure.subplots(2, 2, sharex=True)
    ticks = sorted(table["draws"].unique())
    for column, (parameter, part) in enumerate(table.groupby("parameter", sort=False)):
        above, below = grid[:, column]
        for place, (name, rows) in enumerate(part.groupby("estimator", sort=False)):
            colour, marker, shift = plots.COLOURS[place], "osD"[place], 1.1 ** (place - 1)
            bars = {"yerr": 2 * rows["error"], "fmt": marker, "color": colour, "capsize": 2}
            above.errorbar(rows["draws"] * shift, rows["mean"], **bars)
            below.plot(rows["draws"], rows["variance"], f"-{marker}", color=colour, label=name)
        above.axhline(part["exact"].iloc[0], color="black", linestyle=":", label="exact, by quadrature")
        above.set_title(f"d ELBO / d {str(parameter).replace('_', ' ')}: mean ± 2 errors")
        below.set(title="variance of one gradient", xlabel="draws per gradient", xscale="log", yscale="log")
        below.set_xticks(ticks, [str(n) for n in ticks])
        below.minorticks_off()
    handles, labels = (a + b for a, b in zip(*(p.get_legend_handles_labels() for p in grid[::-1, 0]), strict=True))
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--repeats", type=int, default=1000, help="gradients that each variance is measured on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder; by default runs/elbo-by-hand-<backend>")
    parser.add_argument("--smoke", action="store_true", help="fewer steps and gradients: seconds")
    return parser.parse_args()


def pictures(args: argparse.Namespace) -> dict[str, tuple[pd.DataFrame, Figure]]:
    """Name -> the numbers and the figure."""
    inference = backends.load(args.backend).inference
    sides, place = {"pyro": pyro_programs, "numpyro": numpyro_programs}[args.backend]()
    steps, numbers = (30, [1, 8]) if args.smoke else (300, [1, 4, 16, 64])
    theta = np.linspace(-4, 4, 201)
    curves = pd.concat([known(sides, np.sort(np.append(theta, touching(phi))), phi) for phi in PHIS])
    paths = {f"{start:g}": climb(sides, start) for start in STARTS}
    x, guesses = np.array([[DISTANCE]]), {}
    for name, guess in GUESSES.items():
        guesses[name] = judge(Fit.untrained(inference.Pair(*place(*guess)), x), args.seed)
        svi = inference.SVI(inference.TraceELBO(64), epochs=steps, batch_size=1, learning_rate=0.02)
        climbed = svi.fit(*place(*guess), x, seed=args.seed, description=name)
        guesses[f"{name}, climbed"] = judge(climbed, args.seed)
    judged = pd.DataFrame(guesses).T.rename_axis("q").reset_index()
    noise = gradients(inference, place, numbers, min(args.repeats, 200) if args.smoke else args.repeats, args.seed)
    return {
        "bounds": (curves, draw_bounds(curves)),
        "em": (pd.concat(paths, names=["start", "half_step"]).reset_index(), draw_em(sides, paths)),
        "guesses": (judged, draw_guesses(judged)),
        "gradients": (noise, draw_gradients(noise)),
    }


def main() -> None:
    """Compute, save and print the four pictures' numbers, and draw them."""
    args = arguments()
    out = args.out or Path("runs") / f"elbo-by-hand-{args.backend}"
    if args.repeats < 2:
        raise ValueError(f"a variance needs --repeats of at least 2; got {args.repeats}")
    folders.claim(out, "the work of examples/elbo_by_hand.py")
    drawn = pictures(args)
    for name, (table, figure) in drawn.items():
        plots.save(figure, out / f"{name}.png")
        table.to_csv(out / f"{name}.csv", index=False)
    curves, em, guesses, noise = (table for table, _ in drawn.values())
    said = {
        "Where the bounds touch": curves[curves["theta"] == curves["phi"].map(touching)],
        "Where EM ends": em.groupby("start", sort=False).tail(1).drop(columns="step"),
        "Two guesses, and where they climb to": guesses,
        "Gradients at N(2, 2)": noise,
    }
    for title, table in said.items():
        print(f"{title}:\n{table.round(3).to_string(index=False)}\n")
    print(f"In nats. Written to {out}")


if __name__ == "__main__":
    sys.exit(scripts.run(main))
