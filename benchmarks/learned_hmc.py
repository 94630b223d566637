"""HMC beside chains whose leapfrog steps nets change: the effective number of draws of a narrow posterior.

    OMP_NUM_THREADS=1 python benchmarks/learned_hmc.py           # a linear normal model, deviations 1 and 1 / ratio
    OMP_NUM_THREADS=1 python benchmarks/learned_hmc.py digits    # test digits under a trained VAE

Each chain starts at the prior. ESS is ArviZ's of the worst latent of the worst datum, over four chains. A gradient is
one of log p(x, z) in a chain: HMC takes 5.5 of them for a draw on average, and learned HMC 10; in brackets with those
of its training, twice 10 for each step.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [path for path in map(str, (ROOT, ROOT / "tests")) if path not in sys.path]

import numpy as np  # noqa: E402
from oracles import PCA, SCALE, fit_of  # noqa: E402

from ppl_vae import backends, data, recipes, results, seeds  # noqa: E402
from ppl_vae.mcmc import HMC, Chains, LearnedHMC  # noqa: E402

STEPS, CHAINS = 10, 4


def narrow(ratio: float) -> PCA:
    """A posterior of deviations 1 and 1 / ratio, at 45 degrees, of one datum."""
    pca = PCA(2, 2)
    pca.weights = SCALE * np.sqrt((ratio**2 - 1) / 2) * np.array([[1.0, 1.0], [0.0, 0.0]])
    pca.cov = np.linalg.inv(np.eye(2) + pca.weights.T @ pca.weights / SCALE**2)
    pca.x = pca.mean[None].astype(np.float32)
    return pca


def show(name: str, chains: Chains, seconds: float, training: int, exact: np.ndarray | None) -> None:
    """Print a line: ESS of all draws, and for a thousand gradients; moments beside exact ones, where they are known."""
    z = chains.draws["z"]
    each = STEPS if training else (STEPS + 1) / 2
    drawn, ess = z.shape[1] * CHAINS * each, float(chains.ess().min())
    whole = drawn + training * CHAINS * STEPS * 2
    line = f"{name:<12} ESS {ess:7.0f} of {z.shape[1] * CHAINS}, for 1,000 gradients {1000 * ess / drawn:6.2f}"
    line += f" ({1000 * ess / whole:.2f})" if training else ""
    line += f", R-hat {chains.r_hat().max():.3f}, accepted {chains.accept_prob.mean():.2f}, {seconds:.0f} s of CPU"
    if exact is not None:
        axes = np.linalg.eigh(exact)[1]
        line += (
            f", deviations over exact {((z[:, :, 0] @ axes).std((0, 1)) / np.sqrt(np.linalg.eigvalsh(exact))).round(2)}"
        )
    print(line, flush=True)


def race(fit: results.Fit, x: np.ndarray, num_samples: int, training: int, exact: np.ndarray | None = None) -> None:
    """Run both samplers."""
    options = {
        "num_samples": num_samples,
        "num_warmup": 500,
        "num_chains": CHAINS,
        "num_steps": STEPS,
        "start": "prior",
    }
    for name, sampler in (("HMC", HMC(**options)), ("learned HMC", LearnedHMC(**options, num_training=training))):
        began = time.process_time()
        chains = sampler.run(fit, x)
        show(name, chains, time.process_time() - began, training if name != "HMC" else 0, exact)


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="toy", choices=("toy", "digits"))
    parser.add_argument("--ratios", type=float, nargs="+", default=[3.0, 10.0, 30.0, 100.0])
    parser.add_argument("--training", type=int, default=1000, help="gradient steps of the nets")
    parser.add_argument("--draws", type=int, default=2000)
    options = parser.parse_args()
    b = backends.load("numpyro")
    if options.part == "toy":
        for ratio in options.ratios:
            print(f"deviations 1 and 1/{ratio:g}")
            pca = narrow(ratio)
            race(fit_of(pca, b), pca.x, options.draws, options.training, pca.cov)
    else:
        images = data.load("digits")
        pair = recipes.vae(images, latent_dim=8, hidden=(100,), backend=b.name)(seeds.generator(0, "weights"))
        fit = b.inference.SVI(epochs=60, patience=None).fit(*pair, images, seed=0)
        race(fit, images.test[:20], options.draws, options.training)


if __name__ == "__main__":
    main()
