"""``ppl-vae evaluate``: evaluate a run on its test images."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data import Split
from ...runtime.versions import __version__
from .. import inputs, labels, readme, sequences
from ..console import Console, keys
from ..options import (
    IMAGES,
    OUTPUT,
    add_certify,
    add_config,
    add_console,
    add_device,
    add_images,
    add_particles,
    add_seed,
)
from ..parsing import Group, Parser, add_run, positive_int
from ..runs import METRICS, README, Run, write_json

if TYPE_CHECKING:
    from ...results.fit import Fit

KEYS = {
    "log_p": "mean log p(x) of the test images",
    "test_error": "its standard error, from which images were seen",
    "mc_error": "its standard error, from sampling z",
    "bits_per_dim": "-log p(x) in bits per pixel; null where the likelihood is not over levels",
    "elbo": "the plain ELBO",
    "discrete_elbo": "of relaxed categories, whose numbers are another model's: that of the discrete one",
    "discrete_log_p": "the same of log p(x); both null for other latents",
    "steps": "of the test sequences, of data whose sequences end; else null",
    "log_p_per_step": "the sum of log p(x) over that of the steps; else null",
    "smc_log_p": "with --filters: log p(x) by particle filters, of sequences; else null",
    "smc_error": "its standard error, from sampling z",
    "smc_log_p_per_step": "the sum of smc_log_p over that of the steps; null without them",
    "reconstruction": "E_q[log p(x | z)]",
    "kl": "E_q[log q(z | x) - log p(z)]",
    "accuracy": "of the likeliest labels, of a run with --labels; else null",
    "active_units": "latents in use",
    "levels": "of a hierarchy, the KL and the latents in use of each level, from the top",
    "latent_dim": "of how many",
    "codes_used": "different codes in the test images; null where latents are none",
    "perplexity": "exp of the entropy of these codes",
    "ess_median": "effective draws per image",
    "ess_smallest": "the same, of the image with the fewest",
    "certified_log_p": "with --certify: the best of three lower bounds of log p(x), of N test images",
    "certified_error": "its standard error, from which images were seen",
    "simulated_gap": "how far it is below an upper bound, on simulated images",
    "k_hat_above": "the share of the N images whose k-hat is above 0.7",
    "settled": "1 where nothing speaks against certified_log_p, else 0",
    "corrected_log_p": "log_p plus what it misses of the N images: of all of them",
    "corrected_error": "its standard error, from which N images were certified",
    "verdict": "the same in words; null without --certify",
    "objective": "what the training maximised, last epoch",
    "train_elbo": "null; 'compare' tells it",
    "likelihood_trained": "false where a critic stood in its place: log p(x) is then of one that nothing trained",
    "samples": "of such a run, and of an implicit model: measures of its draws beside the test images; else null",
    "seconds": "of training",
    "seconds_per_step": "of training, median epoch",
    "peak_memory": "of training, MiB",
    "parameters": "numbers that were trained",
    "epochs": "of the training",
    "num_images": "test images",
    "num_particles": "draws per image for log p(x)",
    "elbo_particles": "draws per image for the ELBO",
    "seed": "of the draws",
    "run": "the run",
    "backend": "pyro or numpyro",
    "version": "of ppl_vae",
    "data": "what was evaluated on, with its fingerprint",
}

ABOUT = f"""\
Estimate log p(x) of the test images, the ELBO and its parts, and count the latents in use. All in nats per image.

log p(x) is importance sampled with K = --num-particles draws: a lower bound in expectation that tightens with K. It
has two standard errors: the test error comes from which images were seen, the MC error from sampling z. With
--certify N it is estimated by annealing too, for N images and N simulated ones, and a verdict says how far to trust it.
Of an implicit model (--objective gan), which has no log p(x), the draws are held beside the test images instead. Of
--objective ali and vae-gan both are told: the likelihood that log p(x) is of was not trained.

reads   RUN, and the test part of the run's data, or of --data (a file without parts is split by the run's seed)
writes  RUN/{METRICS}, over that of an earlier evaluation, and RUN/{README}; the table to stdout
"""

EXAMPLES = """\
examples:
  ppl-vae evaluate runs/digits
  ppl-vae evaluate runs/digits --num-particles 5000 --seed 1
  ppl-vae evaluate runs/digits --certify 20
  ppl-vae evaluate runs/flows --filters 4        # of sequences
  ppl-vae evaluate runs/digits --json | jq .log_p

What one image or one draw cannot tell is "unknown", in JSON null.
"""

DRAWS = {"num_particles": 500, "certify": None, "temperatures": 500, "filters": None, "seed": 0}
DEFAULTS: dict[str, Any] = {**OUTPUT, **IMAGES, **DRAWS, "device": None}
ELBO_PARTICLES = 10
NO_LOG_P = """\
The model is implicit: it draws x and has no density, so that there is no log p(x) and no ELBO. Its draws beside the
test images, and ('null') two random parts of both beside each other:
"""
NOT_TRAINED = """
log p(x) and the ELBO are of the pair's likelihood, which {!r} did not train: a critic stood in its place, and
they do not say how good the pair is. {} beside the test images, and ('null') two
random parts of both beside each other:
"""
SHOWN = {"mean": "E[x | z] of the prior's draws, which the critic saw,", "draws": "Draws of x, which the critic saw,"}


def add(commands: Any, text: str) -> Parser:
    """Add the parser of this command, which the list of commands describes by this text, and return it."""
    usage, end = "ppl-vae evaluate RUN [OPTIONS]", EXAMPLES + keys(KEYS)
    parser: Parser = commands.add_parser("evaluate", usage=usage, help=text, description=ABOUT, epilog=end)
    add_run(parser)
    output = Group(parser, "output", DEFAULTS)
    add_config(output)
    add_console(output)
    evaluation = Group(parser, "evaluation", DEFAULTS)
    add_images(evaluation, part=False)
    add_particles(evaluation)
    add_certify(evaluation)
    text = "number of particle filters for each sequence, of --num-particles particles, that estimate log p(x), too"
    evaluation.option("--filters", text, "none", type=positive_int, metavar="N")
    add_seed(evaluation, "the draws")
    add_device(evaluation)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Evaluate; write the metrics; print them."""
    opened, console = Run.open(arguments.folder), Console.of(arguments)
    chosen = {**labels.DEFAULTS, **opened.settings["options"]}
    known = bool(chosen["labels"])
    split = inputs.load(opened, arguments.data, arguments.binarisation, arguments.stream, labelled=known, ended=True)
    what = arguments.data or opened.data
    ends = sequences.masks(split)["test"] if sequences.has_mask(what) else None
    fit = opened.fit(arguments.device)
    implicit, shown = fit.sites.implicit, fit.shown_to_critic
    quality = _quality(fit, split, shown, arguments.seed) if implicit or shown else None
    record = {
        **(_draws(fit, split.test) if implicit else _metrics(fit, split.test, ends, arguments, console.progress)),
        "likelihood_trained": None if implicit else shown is None,
        "samples": quality.row() if quality else None,
        "accuracy": labels.accuracy(fit, split, chosen),
        "seed": arguments.seed,
        "run": str(opened.folder),
        "backend": fit.backend,
        "version": __version__,
        "data": split.to_dict(),
    }
    if ends is not None and sequences.has_ends(what):
        record["steps"] = sequences.steps(ends, opened.shape)
        for name in ("log_p", "smc_log_p"):
            value = record.get(name)
            record[f"{name}_per_step"] = None if value is None else value * len(split.test) / record["steps"]
    record = {name: record.get(name) for name in KEYS}
    write_json(opened.folder / METRICS, record)
    readme.write(opened.folder)
    lines = [NO_LOG_P] if implicit else _table(record, split, opened.datum)
    lines += [NOT_TRAINED.format(chosen["objective"], SHOWN[shown])] if shown else []
    lines += [str(quality)] if quality else []
    console.say(*lines, f"\nwritten to {opened.folder / METRICS}")
    console.result(record)


def interrupted(arguments: argparse.Namespace) -> str:
    """Return the message for Ctrl-C, which says what was written."""
    return f"nothing was written to {arguments.folder}"


def _metrics(
    fit: Fit, test: np.ndarray, ends: np.ndarray | None, arguments: argparse.Namespace, progress: bool | None
) -> dict[str, Any]:
    """Return the metrics, in nats per image; None for those that need more than one image or draw."""
    from ...evaluation import Annealing, evaluate, smc

    num_particles, annealing = arguments.num_particles, Annealing(arguments.temperatures, schedule="adaptive")
    options: dict[str, Any] = {"seed": arguments.seed, "progress": progress, **({} if ends is None else {"mask": ends})}
    certificate: dict[str, Any] = {"certify": arguments.certify or 0, "annealing": annealing}
    evaluation = evaluate(fit, test, num_particles, elbo_particles=ELBO_PARTICLES, **certificate, **options)
    ess, filtered = evaluation.log_p.ess, {}
    if arguments.filters:
        found = smc(fit, test, num_particles, num_filters=arguments.filters, **options)
        filtered = {"smc_log_p": found.mean, "smc_error": found.mean_mc_error}
    numbers = {**evaluation.row(), **filtered, "ess_median": float(np.median(ess)), "ess_smallest": float(ess.min())}
    return {
        **{name: None if value is None or not math.isfinite(value) else value for name, value in numbers.items()},
        "verdict": evaluation.certificate.verdict if evaluation.certificate else None,
        "levels": {name: asdict(level) for name, level in evaluation.levels.items()} or None,
        "latent_dim": sum(len(site.codes) or math.prod(site.event_shape) for site in fit.sites.latent),
        "epochs": len(fit.history["epoch"]),
        "num_images": len(test),
        "num_particles": num_particles,
        "elbo_particles": ELBO_PARTICLES,
    }


def _quality(fit: Fit, split: Split, shown: str | None, seed: int) -> Any:
    """Measure as many draws as there are test images, of what a critic was shown of the model."""
    from ...evaluation import sample_quality

    drawn = fit.generate(len(split.test), seed=seed, mean=shown != "draws")
    return sample_quality(drawn, split.test, train=split.train, seed=seed)


def _draws(fit: Fit, test: np.ndarray) -> dict[str, Any]:
    """Return what can be told of an implicit model."""
    trained = {"seconds": fit.seconds, "parameters": fit.num_parameters, "epochs": len(fit.history["epoch"])}
    return {**trained, "num_images": len(test)}


def _table(metrics: dict[str, Any], split: Split, each: str) -> list[str]:
    several = f"{metrics['num_images']} test {each}{'s' * (metrics['num_images'] != 1)}"
    lines = [f"{split.name}: {several}, binarisation {split.binarisation!r}; nats per {each}\n"]
    for name, text in (
        ("log_p", f"log p(x), K = {metrics['num_particles']}"),
        ("test_error", f"  test error, from which {each}s were seen"),
        ("mc_error", "  MC error, from sampling z"),
        ("elbo", "ELBO"),
        ("reconstruction", "  reconstruction, E_q[log p(x | z)]"),
        ("kl", "  KL, E_q[log q(z | x) - log p(z)]"),
    ):
        lines.append(f"{text:<42}{_format(metrics[name], '.3f'):>12}")
    if metrics["steps"] is not None:
        text = f"log p(x) a step, of {metrics['steps']:,}"
        lines.append(f"{text:<42}{_format(metrics['log_p_per_step'], '.3f'):>12}")
    if metrics["smc_log_p"] is not None:
        lines.append(f"{'log p(x), by particle filters':<42}{metrics['smc_log_p']:>12.3f}")
        lines.append(f"{'  MC error, from sampling z':<42}{_format(metrics['smc_error'], '.3f'):>12}")
    if metrics["smc_log_p_per_step"] is not None:
        lines.append(f"{'  the same a step':<42}{metrics['smc_log_p_per_step']:>12.3f}")
    if metrics["discrete_elbo"] is not None:
        lines.append("these are of relaxed categories, another model; of the discrete one with the same weights:")
        lines.append(f"{'  log p(x)':<42}{_format(metrics['discrete_log_p'], '.3f'):>12}")
        lines.append(f"{'  ELBO':<42}{_format(metrics['discrete_elbo'], '.3f'):>12}")
    if metrics["verdict"] is not None:
        lines.append(f"{'log p(x) of some, certified':<42}{_format(metrics['certified_log_p'], '.3f'):>12}")
        lines.append(f"{'  of all, corrected by these':<42}{_format(metrics['corrected_log_p'], '.3f'):>12}")
        lines.append(f"{'  its error, from which were certified':<42}{_format(metrics['corrected_error'], '.3f'):>12}")
        lines.append(f"  {metrics['verdict']}")
    if metrics["bits_per_dim"] is not None:
        lines.append(f"{'-log p(x), bits per dimension':<42}{_format(metrics['bits_per_dim'], '.3f'):>12}")
    if metrics["accuracy"] is not None:
        lines.append(f"{'accuracy of the likeliest label':<42}{metrics['accuracy']:>12.3f}")
    units = f"{_format(metrics['active_units'], 'd')} of {metrics['latent_dim']}"
    lines.append(f"{'active units':<42}{units:>12}")
    for name, level in (metrics["levels"] or {}).items():
        used = f"KL {level['kl']:.3f}, {_format(level['active_units'], 'd')} active"
        lines.append(f"{f'  level {name}':<35}{used:>19}")
    if metrics["codes_used"] is not None:
        codes = f"{metrics['codes_used']}, perplexity {metrics['perplexity']:.1f}"
        lines.append(f"{'codes in use':<42}{codes:>12}")
    if metrics["ess_median"] is not None:
        ess = f"{metrics['ess_median']:.1f}, smallest {_format(metrics['ess_smallest'], '.1f')}"
        lines.append(f"effective draws per {each}: median {ess}; where they are a handful, the MC error is unreliable")
    return lines


def _format(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)
