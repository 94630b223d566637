"""What refusals about guides without a density advise, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import D, P, follow, toy

from ppl_vae import backends, evaluation, recipes
from ppl_vae import objectives as o
from ppl_vae.critics import Critic
from ppl_vae.discriminators import Discriminator
from ppl_vae.results import Fit

X = toy(12)
IMPLICIT = {"posterior": "implicit", "implicit_noise": 2, "implicit_hidden": (4,), "implicit_context": 3}
B = backends.load("pyro")


def made(**settings: Any) -> tuple[Any, Any]:
    options = {"latent_dim": D, "hidden": (4,), **IMPLICIT, **settings}
    return recipes.vae((P,), **options)(np.random.default_rng(0))


def standard() -> tuple[Any, Any]:
    return made(posterior="standard")


def fit(**settings: Any) -> Fit:
    return Fit.untrained(B.inference.Pair(*made(**settings)), X)


def trains(loss: Any, model_guide: Callable[[], Any] = made, given: np.ndarray | None = None, **options: Any) -> Any:
    def train(_: Any) -> Any:
        settings: dict[str, Any] = {"epochs": 1, "batch_size": 12, **options}
        kind: Any = B.inference.SVI
        if loss.needs_critic:
            kind = B.inference.Adversarial
            settings.setdefault("critic", Discriminator((4,)) if loss.judges == "data" else Critic((4,)))
        beside = {"valid": X} if "patience" in options else {}
        return kind(loss, **settings).fit(*model_guide(), X, given=given, **beside)

    return train


def conditional(**settings: Any) -> Callable[[], Any]:
    return lambda: recipes.conditional_vae((P,), 1, latent_dim=D, hidden=(4,), **settings)(np.random.default_rng(0))


def hierarchy() -> Fit:
    pair = recipes.hierarchy((P,), latent_dim=2, hidden=(4,))(np.random.default_rng(0))
    return Fit.untrained(B.inference.Pair(*pair), X)


def masked(loss: Any, reads: Callable[[Any, Any], Any]) -> Fit:
    """Train on data of which half is hidden, with a guide that reads x or the mask."""

    def model(x: Any, *, mask: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(P), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z).mask(True if mask is None else mask).to_event(1), obs=x)

    def guide(x: Any, *, mask: Any = None) -> None:
        read = reads(x, torch.ones_like(x) if mask is None else mask)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(P)) + read, 0.5).to_event(1))

    hidden = np.random.default_rng(0).random(X.shape) < 0.5
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 12}
    if loss.needs_critic:
        return B.inference.Adversarial(loss, critic=Critic((4,)), **settings).fit(model, guide, X, mask=~hidden)
    return B.inference.SVI(loss, **settings).fit(model, guide, X, mask=~hidden)


def halves() -> tuple[Any, Any]:
    """A pair that observes the halves of x at two sites."""

    def model(x: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(P), 1.0).to_event(1))
            for name, part in (("left", slice(P // 2)), ("right", slice(P // 2, P))):
                pyro.sample(name, dist.Normal(z[..., part], 1.0).to_event(1), obs=x[:, part])

    def guide(x: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(pyro.param("scale", torch.ones(P)) * x, 0.5).to_event(1))

    return model, guide


def above_zero() -> Fit:
    """Latents above 0, where a normal is not."""

    def model(x: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.LogNormal(0 * x, 1.0).to_event(1))

    return Fit.untrained(B.inference.Pair(model, guide), X[:, :2])


def judged(fit: Fit) -> list[float]:
    return list(evaluation.sample_quality(fit.generate(30), toy(30), permutations=2).row().values())


def vampprior(**settings: Any) -> tuple[Any, Any]:
    options = {"prior": "vampprior", "num_pseudo_inputs": 2, "hidden": (4,), **IMPLICIT, **settings}
    return recipes.vae(X, **options)(np.random.default_rng(0))


def normal() -> Fit:
    return evaluation.normal_proposal(fit(), X, 50)


SHORT = evaluation.Annealing(3, 2, num_steps=1)


def f_divergence(**settings: Any) -> Callable[[Any], Any]:
    return lambda b: trains(o.FDivergenceVAE(**settings), lambda: made(posterior="standard"))(b)


REMEDIES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "reads log q(z | x), and that of the guide's site": (
        lambda _: evaluation.elbo(fit(), X),
        lambda _: evaluation.elbo(normal(), X).mean,
        lambda _: evaluation.diagnose(normal(), X, 50).ess,
        lambda _: evaluation.log_likelihood(fit(), X, 5, proposal="normal"),
        lambda _: evaluation.ais(fit(), X, SHORT).mean,
        lambda _: evaluation.normal_proposal(fit(), X, 50, mask=X > 0).impute(X, mask=X > 0),
        lambda _: normal().refine(X, steps=2).history["loss"],
        lambda _: fit().draws(X, 2, method="guide")["z"],
    ),
    "normal_proposal is for one latent site, a vector of real numbers": (
        lambda _: evaluation.normal_proposal(hierarchy(), X),
        lambda _: evaluation.ais(hierarchy(), X, SHORT).mean,
    ),
    "diagnostics reads the weights p(x, z) / q(z | x) of the guide's draws": (
        lambda _: fit().draws(X, 3).diagnostics(),
        lambda _: evaluation.diagnose(normal(), X, 50).k_hat,
    ),
    "the gradient of total variation is 0 or infinite: use 'jensen-shannon'": (
        lambda _: o.FDivergenceVAE(divergence="total variation"),
        *(f_divergence(divergence=name) for name in ("kl", "jensen-shannon", "squared hellinger", "pearson")),
        f_divergence(divergence="reverse kl", clip=5.0),
    ),
    "set 'clip' to a bound of |c|": (
        lambda _: o.FDivergenceVAE(divergence="reverse kl"),
        f_divergence(divergence="reverse kl", clip=5.0),
        f_divergence(divergence="jensen-shannon"),
    ),
    "say little of it: use divergence='jensen-shannon', which is finite, or FDivergenceVAE with a 'clip'": (
        lambda _: o.RandomMixtureVAE(divergence="reverse kl"),
        trains(o.RandomMixtureVAE(divergence="jensen-shannon"), lambda: made(posterior="standard")),
        f_divergence(divergence="reverse kl", clip=5.0),
    ),
    "set 'num_particles' to 2 or more, better 8": (
        lambda _: o.AVB(1),
        trains(o.AVB(2)),
        trains(o.AVB(8)),
        trains(o.AVB(1, adaptive_contrast=False)),
    ),
    "the critic sees x and z, and not what the pair is given": (
        trains(o.AVB(), conditional(**IMPLICIT), X[:, :1]),
        trains(o.TraceELBO(), conditional(), X[:, :1]),
    ),
    "the critic sees the draws of a batch together: leave 'chunk' at None": (
        lambda _: o.ALI(2, chunk=1),
        trains(o.ALI(2, mean=True)),
    ),
    "takes one draw of the guide for each datum of a batch": (
        lambda _: o.VAEGAN(2),
        trains(o.VAEGAN(), standard),
    ),
    "measures similarity by hidden layer": (
        trains(o.VAEGAN(layer=2), standard),
        trains(o.VAEGAN(layer=2), standard, critic=Discriminator((128, 128))),
        trains(o.VAEGAN(layer=1), standard),
    ),
    "the discriminator sees x, and not what the pair is given": (
        trains(o.VAEGAN(), conditional(), X[:, :1]),
        trains(o.TraceELBO(), conditional(), X[:, :1]),
    ),
    "trains the decoder by its draws of x, and those of": (
        trains(o.ALI()),
        trains(o.ALI(mean=True)),
        trains(o.ALI(), lambda: made(likelihood="normal")),
    ),
    "shows its critic E[x | z], which nobody knows of": (
        trains(o.ALI(mean=True), lambda: made(likelihood="pixelcnn", net="conv", image_shape=(4, 3), channels=(2,))),
        trains(o.ALI(mean=True)),
        trains(o.ALI(mean=True), lambda: made(likelihood="normal")),
    ),
    "shows its critic x as one site draws it, and the model observes": (
        trains(o.ALI(), halves),
        trains(o.TraceELBO(), halves),
    ),
    "the critic would tell data by their hidden places": (
        lambda _: masked(o.ALI(mean=True), lambda x, mask: x),
        trains(o.ALI(mean=True)),
        lambda _: masked(o.TraceELBO(), lambda x, mask: x),
    ),
    "the critic sees x and z, and not the mask, of which q(z | x, mask)": (
        lambda _: masked(o.AVB(), lambda x, mask: mask.to(x)),
        lambda _: masked(o.AVB(), lambda x, mask: x),
        lambda _: masked(o.TraceELBO(), lambda x, mask: mask.to(x)),
    ),
    "set patience=None, and watch valid_log_lik": (
        trains(o.AVB(), patience=2),
        lambda _: trains(o.AVB(), patience=None)(None).history["valid_log_lik"],
    ),
    "set patience=None, and judge the draws by evaluation.sample_quality": (
        trains(o.VAEGAN(), standard, patience=2),
        lambda _: judged(trains(o.VAEGAN(), standard, patience=None)(None)),
    ),
    "is made of the guide's densities, and an implicit posterior has none, a semi-implicit one none but": (
        lambda _: vampprior(),
        trains(o.AVB(), lambda: made(prior="standard")),
        trains(o.AVB(), lambda: made(prior="mixture", num_pseudo_inputs=2)),
        trains(o.TraceELBO(), lambda: vampprior(posterior="standard")),
    ),
    "A semi-amortised guide climbs the ELBO, of which an implicit posterior has no log q(z | x): use guide=": (
        lambda _: made(guide="semi-amortised"),
        trains(o.AVB(), lambda: made(guide="amortised")),
        trains(o.TraceELBO(), lambda: made(guide="semi-amortised", posterior="semi-implicit")),
    ),
    "whose log_prob is known nowhere: give the guide a distribution with a density": (
        trains(o.TraceELBO()),
        trains(o.TraceELBO(), lambda: made(posterior="standard")),
        trains(o.AVB()),
    ),
}


def test_no_normal_is_proposed_for_latents_with_bounds() -> None:
    follow(
        r"normal_proposal is for one latent site, a vector of real numbers; the pair has 'z' (2,) (LogNormal)",
        None,
        lambda _: evaluation.log_likelihood(above_zero(), X[:, :2], 2, proposal="normal"),
        lambda _: evaluation.ais(above_zero(), X[:, :2], SHORT).mean,
    )


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, None, *REMEDIES[says])


@pytest.mark.parametrize("loss", [o.InfoVAE(), o.DReG(2), o.FactorVAE()])
def test_no_other_objective_takes_an_implicit_guide(loss: Any) -> None:
    follow("Implicit, whose log_prob is known nowhere: give the guide", None, trains(loss), trains(o.AVB()))
