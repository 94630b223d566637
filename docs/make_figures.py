"""Makes the figures of the gallery anew, in docs/figures: those of the examples, and of the page on scikit-learn.

    python docs/make_figures.py                            # all, a few minutes on two cores
    python docs/make_figures.py ink_on_digits.png

Those of MNIST and of chorales need the folder that ``PPL_VAE_DATA`` names; they are made when they are asked for, or
when it is set.
On the versions of constraints.txt and one thread (OMP_NUM_THREADS=1) they come out as they are.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
FOLDER = DOCS / "figures"
NINES = "examples/image_completion.py --data mnist --only 9 --parts a b --backend numpyro"
FIGURES = {
    "priors_on_digits.png": ("examples/vampprior.py", "reconstructions_and_generations.png"),
    "training_on_digits.png": ("examples/vampprior.py", "training_curves.png"),
    "pseudo_inputs_on_digits.png": ("examples/vampprior.py", "pseudo_inputs-vampprior.png"),
    "strategies_on_digits.png": ("examples/compare_inference.py", "gaussian/figures/log_likelihood.png"),
    "gradients_on_digits.png": ("examples/compare_inference.py", "bernoulli/figures/gradients-pyro.png"),
    "discrete_estimators.png": ("examples/discrete_latents.py", "atlas.png"),
    "codes_on_digits.png": ("examples/discrete_latents.py", "codes.png"),
    "levels_on_digits.png": ("examples/hierarchical.py", "levels.png"),
    "forecast_of_the_nile.png": ("examples/sequences.py --only nile", "nile.png"),
    "chorales.png": ("examples/sequences.py --only chorales", "chorales.png"),
    "chain_of_noise.png": ("examples/diffusion.py", "chain.png"),
    "windows_on_canvases.png": ("examples/attend_infer_repeat.py", "windows.png"),
    "gaps_on_digits.png": ("examples/amortisation_gap.py", "gaps_test.png"),
    "flexible_posteriors.png": ("examples/flexible_posteriors.py", "densities.png"),
    "divergences_on_two_bumps.png": ("examples/divergences.py", "fits.png"),
    "algorithms_on_two_bumps.png": ("examples/divergences.py", "algorithms.png"),
    "modes_of_a_gan.png": ("examples/gan.py", "samples.png"),
    "digits_of_a_gan.png": ("examples/gan.py", "digits.png"),
    "gradients_of_a_gan.png": ("examples/gan.py", "gradients.png"),
    "oscillation_of_a_gan.png": ("examples/gan.py", "oscillation.png"),
    "collapse_on_digits.png": ("examples/posterior_collapse.py", "bars.png"),
    "collapse_draws_on_digits.png": ("examples/posterior_collapse.py", "draws.png"),
    "ink_on_digits.png": ("examples/your_own_model.py", "ink.png"),
    "halves_on_digits.png": ("examples/image_completion.py", "guesses.png"),
    "half_gaps_on_digits.png": ("examples/image_completion.py", "gaps.png"),
    "vae_halves_on_digits.png": ("examples/image_completion.py", "completions.png"),
    "quadrants_on_digits.png": ("examples/image_completion.py", "quadrants.png"),
    "halves_of_nines.png": (NINES, "guesses.png"),
    "vae_halves_of_nines.png": (NINES, "completions.png"),
    "code_of_digits.png": ("examples/bits_back.py", "lengths.png"),
    "mig_on_sprites.png": ("examples/disentanglement.py", "mig_binned.png"),
    "decomposition_on_sprites.png": ("examples/disentanglement.py", "decomposition.png"),
    "rate_distortion_on_sprites.png": ("examples/disentanglement.py", "rate_distortion.png"),
    "traversals_on_sprites.png": ("examples/disentanglement.py", "beta-TCVAE_traversal_image.png"),
    "shifted_on_sprites.png": ("examples/disentanglement.py", "beta-TCVAE_shifted.png"),
    "metrics_on_sprites.png": ("examples/disentanglement.py", "metrics_by_metrics.png"),
    "bounds_by_hand.png": ("examples/elbo_by_hand.py", "bounds.png"),
    "em_by_hand.png": ("examples/elbo_by_hand.py", "em.png"),
    "guesses_by_hand.png": ("examples/elbo_by_hand.py", "guesses.png"),
    "gradients_by_hand.png": ("examples/elbo_by_hand.py", "gradients.png"),
    "estimator_on_digits.png": ("docs/scikit_learn.md", "estimator.png"),
}
"""Figure -> what makes it, with its options, and under which name."""


def make(source: str, out: Path) -> None:
    """Run an example with its options, or the code of a page, and leave its files in ``out``."""
    name, *options = source.split()
    path = DOCS.parent / name
    if path.suffix == ".md":
        code = "\n".join(re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL))
        command = [sys.executable, "-c", code]
    else:
        command = [sys.executable, str(path), *options, "--out", str(out)]
    subprocess.run(command, cwd=out, env={"OMP_NUM_THREADS": "1", **os.environ}, check=True)


def main() -> None:
    """Make the figures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *FIGURES], metavar="FIGURE", help="by default all")
    here = "PPL_VAE_DATA" in os.environ
    there = [name for name, (source, _) in FIGURES.items() if here or not re.search("mnist|chorales", source)]
    chosen = parser.parse_args().names or there
    for source in dict.fromkeys(FIGURES[name][0] for name in chosen):
        with tempfile.TemporaryDirectory() as out:
            make(source, Path(out))
            for name in chosen:
                if FIGURES[name][0] == source:
                    shutil.copyfile(Path(out) / FIGURES[name][1], FOLDER / name)


if __name__ == "__main__":
    main()
