"""Two models of sequences: the level of the Nile with its forecast, and chorales that a model writes and goes on with.

    python examples/sequences.py                         # two minutes on two cores
    python examples/sequences.py --backend pyro          # several times as long
    python examples/sequences.py --only nile

The Nile is one sequence of a hundred years, of which the last twenty are hidden: a linear Gaussian state space with one
latent, trained by the ELBO. The chorales are those of J. S. Bach as piano rolls, cut at 48 steps: a deep Markov model.
Their file is looked for as ``data.load("jsb_chorales")`` does, and left out where there is none. Writes ``nile.png``,
``chorales.png`` and ``chorale.mid``, the first that the model draws.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ppl_vae import backends, data, evaluation, plots, recipes, seeds
from ppl_vae.runtime import folders, scripts

HIDDEN = 20
"""Years that the model of the Nile does not see."""
CUT = 48
"""Steps of a chorale."""
KEYS = slice(20, 80)
"""Those of the 88 keys that are drawn."""


def nile(args: argparse.Namespace) -> Figure:
    """Train on the first eighty years, draw the level and what may follow."""
    flows = data.nile.read()
    seen = np.arange(len(data.nile.YEARS)) < len(data.nile.YEARS) - HIDDEN
    loc, scale = flows.x[0, seen].mean(), flows.x[0, seen].std()
    x, mask = (flows.x - loc) / scale, seen[None]
    linear = {"latent_dim": 1, "transition": "linear", "likelihood": "normal", "hidden": (), "recurrent_units": 16}
    recipe = recipes.deep_markov(flows.shape, backend=args.backend, **linear)
    inference = backends.load(args.backend).inference
    svi = inference.SVI(
        inference.TraceELBO(num_particles=8), epochs=2 if args.smoke else 1000, batch_size=1, learning_rate=0.01
    )
    fit = svi.fit(*recipe(seeds.generator(args.seed, "weights")), x, mask=mask, seed=args.seed)
    draws = 20 if args.smoke else 400
    found = fit.draws(x, draws, method="sir", mask=mask, seed=args.seed)
    level = fit.decode(found["z"][:, 0]) * scale + loc
    later = fit.forecast(x, HIDDEN, num_draws=draws, mask=mask, seed=args.seed)
    low, high = (bound[0] * scale + loc for bound in later.interval(0.9))
    hidden = flows.x[0, ~seen]
    log_p = evaluation.log_likelihood(fit, x, draws, mask=mask).values[0] - seen.sum() * np.log(scale)
    print(f"Nile: log p(x) {log_p:.1f} nats of {seen.sum()} years; {fit.seconds:.0f} s")
    print(f"of the {HIDDEN} years to come {((hidden > low) & (hidden < high)).mean():.0%} lie in the 0.9-intervals")
    return draw_nile(flows.x[0], seen, level[:, seen], later.mean[0] * scale + loc, low, high)


def draw_nile(
    x: np.ndarray, seen: np.ndarray, level: np.ndarray, mean: np.ndarray, low: np.ndarray, high: np.ndarray
) -> Figure:
    """The flows, the level with nine in ten of its draws, and the forecast."""
    years = np.array(data.nile.YEARS)
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(years[seen], x[seen], "o", color="0.3", markersize=3, label="seen")
    axes.plot(years[~seen], x[~seen], "o", color="0.3", markersize=3, fillstyle="none", label="hidden")
    axes.fill_between(years[seen], *np.quantile(level, [0.05, 0.95], axis=0), color="C0", alpha=0.3, linewidth=0)
    axes.plot(years[seen], level.mean(0), color="C0", label="level, and 0.9 of its draws")
    axes.fill_between(years[~seen], low, high, color="C1", alpha=0.3, linewidth=0)
    axes.plot(years[~seen], mean, color="C1", label="forecast, and 0.9 of its draws")
    axes.set_xlabel("year")
    axes.set_ylabel("flow at Aswan, $10^8$ m³")
    axes.legend(ncols=4, fontsize="small", frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def chorales(args: argparse.Namespace) -> Figure:
    """Train on chorales; draw new ones, and two ends for the first half of chorales that are not seen in training."""
    music = data.load("jsb_chorales")
    train, test = (cut(music, part) for part in ("train", "test"))
    recipe = recipes.deep_markov(
        (CUT, 88), latent_dim=16, hidden=(64,), recurrent_units=64, transition_hidden=(64,), backend=args.backend
    )
    inference = backends.load(args.backend).inference
    svi = inference.SVI(epochs=1 if args.smoke else args.epochs, batch_size=20, learning_rate=3e-3)
    fit = svi.fit(*recipe(seeds.generator(args.seed, "weights")), train.x, mask=train.mask, seed=args.seed)
    log_p = evaluation.log_likelihood(fit, test.x, 16, mask=test.mask).values.sum() / test.lengths.sum()
    print(f"chorales: log p(x) at least {log_p:.2f} nats a step of the test set, by 16 draws; {fit.seconds:.0f} s")
    new = fit.generate(3, mean=False, seed=args.seed).reshape(3, CUT, 88)
    half = data.pad([x[: CUT // 2] for x in test.x[:3].reshape(3, CUT, 88)], length=CUT)
    data.write_midi(args.out / "chorale.mid", new[0])
    later = fit.forecast(half.x, CUT // 2, num_draws=2, mask=half.mask, seed=args.seed)
    ends = later.draws.reshape(2, 3, CUT // 2, 88)
    begun = half.x.reshape(3, CUT, 88)[:, : CUT // 2]
    return draw_chorales(new, [np.concatenate([begun, end], 1) for end in ends])


def cut(music: data.Split, part: str) -> data.Padded:
    """The first steps of each chorale."""
    assert music.labels is not None
    x = getattr(music, part).reshape(-1, *music.image_shape)[:, :CUT]
    return data.pad(x, lengths=np.minimum(music.labels[part], CUT), length=CUT)


def draw_chorales(new: np.ndarray, ends: list[np.ndarray]) -> Figure:
    """Piano rolls: in the first column new ones, then two that go on from one half."""
    titles = ("drawn", "Bach to the line, then drawn", "the same, drawn again")
    figure = Figure(figsize=(9, 5), layout="constrained")
    for column, (rolls, title) in enumerate(zip((new, *ends), titles, strict=True)):
        for row, roll in enumerate(rolls):
            axes = figure.add_subplot(3, 3, 3 * row + column + 1)
            axes.imshow(roll.T[KEYS], origin="lower", aspect="auto", cmap="gray_r", interpolation="none")
            axes.set_xticks([0, CUT // 2, CUT] if row == 2 else [])
            axes.set_yticks([])
            if column:
                axes.axvline(CUT // 2 - 0.5, color="C3", linewidth=1)
            if row == 0:
                axes.set_title(title, fontsize="medium")
    figure.supxlabel("quarter note")
    figure.supylabel("key")
    return figure


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="numpyro")
    parser.add_argument("--only", choices=("nile", "chorales"))
    parser.add_argument("--epochs", type=int, default=100, help="of the chorales")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder; by default runs/sequences-<backend>")
    parser.add_argument("--smoke", action="store_true", help="an epoch or two: seconds")
    return parser.parse_args()


def main() -> None:
    """Train both, print their numbers and draw their figures."""
    args = arguments()
    args.out = args.out or Path("runs") / f"sequences-{args.backend}"
    written = []
    folders.claim(args.out, "the work of examples/sequences.py")
    for name, make in (("nile", nile), ("chorales", chorales)):
        if args.only not in (None, name):
            continue
        try:
            figure = make(args)
        except (FileNotFoundError, ConnectionError) as error:
            if args.only:
                raise
            print(f"without chorales: {error}")
            continue
        plots.save(figure, args.out / f"{name}.png")
        written.append(f"{name}.png")
    print(f"{args.out}: {', '.join(written)}")


if __name__ == "__main__":
    sys.exit(scripts.run(main))
