"""What a refusal of a training, of its data or of its pair advises, followed: it trains, or the number is computed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pairs import TRAIN, VALID, P, follow, plain_modules, refused, semi_supervised, untrained

from ppl_vae import backends, baselines, data, evaluation, guides, inference, init, nets, recipes
from ppl_vae.results import Fit
from ppl_vae.training import BaseSVI

Way = Callable[[Any], Any]
PYRO, NUMPYRO = backends.load("pyro"), backends.load("numpyro")
SMALL: dict[str, Any] = {"latent_dim": 2, "hidden": (4,)}
GIVEN = np.eye(3, dtype=np.float32)[np.arange(len(TRAIN)) % 3]
LABELS = np.arange(len(TRAIN)) % 3
TENS = np.where(np.arange(len(TRAIN)) % 2, 10 * LABELS, -1)[:, None]
HOLED = np.where(np.random.default_rng(0).random(TRAIN.shape) < 0.1, np.nan, TRAIN).astype(np.float32)
MASKED = np.ma.masked_invalid(HOLED)
ROWS: dict[str, Any] = {"guide": "per-datapoint", "num_images": len(TRAIN)}


bigan = partial(inference.ALI, deterministic=True, mean=True)


def made(**settings: Any) -> Any:
    one = recipes.vae((P,), **{**SMALL, **settings})
    return one(np.random.default_rng(0))


def fits(x: Any = TRAIN, *, loss: Any = None, model_guide: Any = made, **options: Any) -> Way:
    """A training of a small pair: of its loss."""
    names = (
        "epochs",
        "batch_size",
        "patience",
        "local_steps",
        "epoch_size",
        "optim",
        "learning_rate",
        "clip_norm",
        "precision",
    )
    settings = {"epochs": 1, "batch_size": 20, **{n: options.pop(n) for n in names if n in options}}

    def fit(at: Any) -> Fit:
        svi = inference.SVI(**({} if loss is None else {"loss": loss}), **settings)
        named = {n: v(at) if callable(v) else v for n, v in options.items()}
        return svi.fit(*model_guide(), x(at) if callable(x) else x, **named)

    return fit


class Half(torch.nn.Module):
    """A net whose products are in bfloat16."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return numbers in single precision."""
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.net(x).float()


def halved() -> Any:
    """A pair with such nets, whose bound is that of single precision but for 0.05 nats."""
    model, guide = made()
    whole = untrained(model, guide, PYRO)
    model.likelihood.net, guide.posterior.net = Half(model.likelihood.net), Half(guide.posterior.net)
    half = untrained(model, guide, PYRO)
    differ = [fit.pair.sample(TRAIN, 5, 0)[1].log_weights.mean() for fit in (whole, half)]
    assert 0 < abs(differ[0] - differ[1]) < 0.05
    return model, guide


def rows_of() -> Any:
    return made(**ROWS)


def conditional() -> Any:
    return made(given_dim=3)


SEMI: dict[str, Any] = {"model_guide": lambda: semi_supervised(PYRO), "loss": inference.TraceEnumELBO()}


def numbered(labels: np.ndarray) -> np.ndarray:
    """Follow the text about labels that are no classes, to the letter."""
    known = np.unique(labels[labels >= 0])
    return np.where(labels < 0, -1, np.searchsorted(known, labels))


def stream(at: Path) -> Any:
    np.save(at / "x.npy", TRAIN)
    return data.stream(at / "x.npy")


def evaluated(**side: Any) -> Way:
    x = side.pop("x", TRAIN)
    return lambda _: evaluation.elbo(untrained(*made(), PYRO), x, 2, **side)


def conditioned(**side: Any) -> Way:
    def run(_: Any) -> Any:
        own = inference.Pair(*conditional())
        own.prepare(TRAIN[:4], 0, {"given": GIVEN[:4]})
        return evaluation.elbo(Fit(own, {}, {}), TRAIN, 2, **side)

    return run


def split(_: Any) -> Any:
    return data.from_arrays(TRAIN, VALID, VALID, binarisation="fixed")


GREY = (255 * TRAIN).astype(np.uint8)


@functools.cache
def of_grey() -> Fit:
    """A fit of stored levels, divided by 255."""
    grey = data.from_arrays(GREY, GREY[:20], GREY[:20])
    assert grey.scale == 255
    return inference.SVI(epochs=1, batch_size=20).fit(*made(), grey)


def stored(at: Path, x: np.ndarray, **options: Any) -> Any:
    np.save(at / "grey.npy", x)
    return data.stream(at / "grey.npy", **options)


def same_codes(x: Any) -> np.ndarray:
    """Codes of the first images, which are those of the values that the training saw."""
    codes = of_grey().encode(x)
    np.testing.assert_allclose(codes, of_grey().encode(TRAIN[:5]), rtol=1e-5)
    return codes


CODES = np.array([[0.0, np.nan], [1.0, 2.0]])


def checked_elbo(**side: Any) -> Any:
    fit = untrained(*made(), PYRO)
    return evaluation.elbo(fit, fit.checked(TRAIN, mask=np.isfinite(HOLED)), 2, **side)


def with_rows(x: np.ndarray) -> Any:
    """A pair whose guide has rows for these data."""
    decoder = PYRO.nets.MLP((2, P), np.random.default_rng(0))
    rows = nets.Rows(init.standard_rows(len(x), 2))
    guide = guides.PerDatapoint(PYRO.conditionals.DiagNormal(rows))
    return PYRO.models.VAE(PYRO.models.StandardNormal(2), PYRO.conditionals.Bernoulli(decoder)), guide


def judged(fit: Fit) -> Any:
    return evaluation.elbo(fit.refine(VALID, steps=3), VALID, 2)


def of_numpyro() -> recipes.Recipe:
    return recipes.vae((P,), backend="numpyro", **SMALL)


def discrete(baseline: Any) -> Any:
    return inference.TraceGraphELBO(2, baseline=baseline)


def discrete_rows() -> Any:
    return made(latents="bernoulli", **ROWS)


def with_strengths(loss: Any, strengths: Any, kind: Any = inference.SVI) -> np.ndarray:
    svi = kind(loss, epochs=1, batch_size=20)
    return svi.fit_seeds(recipes.vae((P,), **SMALL), TRAIN, seeds=[0], strengths=strengths)[0].history["loss"]


def hidden_modules() -> Any:
    """A pair of plain modules, which Pyro's store does not have."""
    return plain_modules(*made())


def narrow(floor: float) -> Any:
    """A likelihood whose scale starts as narrow as its floor allows."""
    decoder = PYRO.nets.MLP((2, P), np.random.default_rng(0))
    likelihood = PYRO.conditionals.Normal(decoder, scale=2 * floor, learned=True, floor=floor)
    return PYRO.models.VAE(PYRO.models.StandardNormal(2), likelihood), made()[1]


REMEDIES: dict[str, tuple[Way, ...]] = {
    ", or say which values were seen, {}": (
        fits(HOLED),
        fits(np.delete(HOLED, np.flatnonzero(np.isnan(HOLED).any(1)), 0), batch_size=5),
        fits(HOLED, mask=np.isfinite(HOLED)),
        fits(np.where(np.isnan(HOLED), np.inf, HOLED), mask=np.isfinite(HOLED)),
    ),
    "holds NaN or infinite values, first at row {}, column {}: remove them": (
        lambda _: untrained(*made(), PYRO).decode(CODES),
        lambda _: untrained(*made(), PYRO).decode(CODES[1:]),
    ),
    "is a masked array: pass {}.filled(0), and what was seen as {}": (
        fits(MASKED),
        fits(MASKED.filled(0), mask=~np.ma.getmaskarray(MASKED)),
        fits(np.ma.asarray(TRAIN).filled(0), mask=~np.ma.getmaskarray(np.ma.asarray(TRAIN))),
        fits(TRAIN, valid=MASKED.filled(0), valid_mask=~np.ma.getmaskarray(MASKED)),
    ),
    "is a masked array, and all of its values are needed: pass {}.data": (
        lambda _: untrained(*made(), PYRO).decode(np.ma.asarray(CODES[1:])),
        lambda _: untrained(*made(), PYRO).decode(np.ma.asarray(CODES[1:]).data),
    ),
    "Checked data have their side inputs: pass them without 'given' and 'mask'": (
        lambda _: checked_elbo(mask=np.isfinite(HOLED)),
        lambda _: checked_elbo(),
    ),
    "and {} is a stream: pass np.asarray of it, or some rows": (
        fits(stream, mask=np.isfinite(HOLED)),
        fits(lambda at: np.asarray(stream(at)), mask=np.isfinite(HOLED)),
        fits(lambda at: stream(at)[:40], mask=np.isfinite(HOLED)[:40]),
    ),
    "should be boolean, true where a pixel was seen, of shape {}; got dtype {} and shape {}: {}, say": (
        fits(HOLED, mask=np.isfinite(HOLED).astype(float)),
        fits(HOLED, mask=np.isfinite(HOLED)),
    ),
    "pass x / {} of stored levels, and x.astype(bool) of pixels that are 0 or 1 already": (
        lambda _: of_grey().encode(GREY[:5].astype(int)),
        lambda _: same_codes(GREY[:5].astype(int) / 255),
        lambda _: same_codes((GREY[:5] > 0).astype(int).astype(bool)),
    ),
    "open it by data.stream(..., scale={})": (
        lambda at: of_grey().encode(stored(at, GREY, scale=1.0)),
        lambda at: same_codes(stored(at, GREY, scale=255)[:5]),
    ),
    "labels go in as np.eye(num_classes)[labels]": (
        fits(given=np.arange(len(TRAIN)) % 3, model_guide=conditional),
        fits(given=np.eye(3)[np.arange(len(TRAIN)) % 3], model_guide=conditional),
    ),
    "pass labels[:, None], of integers, or one_hot.argmax(1)[:, None]": (
        fits(given=np.eye(3)[LABELS], **SEMI),
        fits(given=LABELS[:, None], **SEMI),
        fits(given=np.eye(3)[LABELS].argmax(1)[:, None], **SEMI),
    ),
    "number the classes, known = np.unique(labels[labels >= 0]) and np.where(labels < 0, -1, ": (
        fits(given=TENS, **SEMI),
        fits(given=numbered(TENS), **SEMI),
        lambda _: np.testing.assert_array_equal(numbered(TENS) < 0, TENS < 0),
    ),
    "'given' has {}: pass given= of shape (N, {})": (conditioned(), conditioned(given=GIVEN)),
    "'given' has {} columns: leave it out": (evaluated(given=GIVEN), evaluated()),
    "is conditional on side information: pass it, given= of shape (N, G)": (
        fits(model_guide=conditional),
        fits(model_guide=conditional, given=GIVEN),
    ),
    "use ConditionalVAE, as recipes.conditional_vae makes it, or leave it out": (
        fits(given=GIVEN),
        fits(given=GIVEN, model_guide=lambda: recipes.conditional_vae((P,), 3, **SMALL)(np.random.default_rng(0))),
        fits(),
    ),
    "pass both given= and valid_given=": (
        fits(given=GIVEN, valid=VALID, model_guide=conditional),
        fits(given=GIVEN, valid=VALID, valid_given=GIVEN[:30], model_guide=conditional),
    ),
    "go with validation data: pass valid=, too": (
        fits(valid_mask=np.isfinite(VALID)),
        fits(valid=VALID, valid_mask=np.isfinite(VALID)),
    ),
    "'batch_size' is {}, but there are only {} data points: lower it": (fits(batch_size=61), fits(batch_size=60)),
    "data points: lower it, or leave it at None": (
        fits(epoch_size=61),
        fits(epoch_size=60),
        fits(epoch_size=None),
    ),
    "Early stopping needs validation data: pass a Split or valid=, or set patience=None": (
        fits(patience=2),
        fits(split, patience=2),
        fits(patience=2, valid=VALID),
        fits(patience=None),
    ),
    "make its rows for these, nets.Rows(init.standard_rows(len(data), ...))": (
        fits(TRAIN[:40], model_guide=rows_of),
        fits(TRAIN[:40], model_guide=lambda: with_rows(TRAIN[:40])),
    ),
    "set patience=None, and judge it by fit.refine(valid)": (
        fits(valid=VALID, patience=2, model_guide=rows_of),
        lambda _: judged(fits(patience=None, model_guide=rows_of)(None)),
    ),
    "has no row of a per-datapoint guide: use WakeWake, or another guide": (
        fits(loss=inference.WakeSleep(), model_guide=rows_of),
        fits(loss=inference.WakeWake(), model_guide=rows_of),
        fits(loss=inference.WakeSleep()),
    ),
    "not under the one that is trained: give it the very module": (
        fits(model_guide=lambda: (made()[0], made(guide="semi-amortised", refinement_steps=1)[1])),
        fits(model_guide=lambda: made(guide="semi-amortised", refinement_steps=1)),
    ),
    "use inference.Adversarial({}(...)) in place of SVI": (
        fits(loss=inference.FactorVAE()),
        lambda _: inference.Adversarial(inference.FactorVAE(), epochs=1, batch_size=20).fit(*made(), TRAIN),
    ),
    "has no use for one: use SVI, or FactorVAE, AAE, WAEGAN, AVB, ALI or VAEGAN": (
        lambda _: inference.Adversarial(inference.TraceELBO(), epochs=1, batch_size=20).fit(*made(), TRAIN),
        fits(loss=inference.TraceELBO()),
        *(
            lambda _, loss=loss: inference.Adversarial(loss(), epochs=1, batch_size=20).fit(*made(), TRAIN)
            for loss in (
                inference.FactorVAE,
                inference.AAE,
                inference.WAEGAN,
                inference.AVB,
                partial(inference.ALI, mean=True),
            )
        ),
    ),
    "leave local_steps at 0, or use another objective": (
        fits(loss=inference.InfoVAE(), local_steps=1, model_guide=rows_of),
        fits(loss=inference.InfoVAE(), local_steps=0, model_guide=rows_of),
        fits(loss=inference.TraceELBO(), local_steps=1, model_guide=rows_of),
    ),
    "and this pair has none: leave it at 0": (fits(local_steps=1), fits(local_steps=0)),
    "does not give: use an objective of ppl_vae": (
        fits(loss=pyro.infer.Trace_ELBO(), local_steps=1, model_guide=rows_of),
        fits(loss=inference.TraceELBO(), local_steps=1, model_guide=rows_of),
    ),
    "use baselines.LeaveOneOut(), or local_steps=0": (
        fits(loss=discrete(baselines.RunningAverage()), local_steps=1, model_guide=discrete_rows),
        fits(loss=discrete(baselines.LeaveOneOut()), local_steps=1, model_guide=discrete_rows),
        fits(loss=discrete(baselines.RunningAverage()), local_steps=0, model_guide=discrete_rows),
    ),
    "leave it, set SVI(precision='bfloat16'), or put it around a net, in the forward of a module that returns net(x)": (
        lambda at: torch.autocast("cpu", torch.bfloat16)(fits())(at),
        fits(),
        fits(precision="bfloat16"),
        fits(model_guide=halved),
    ),
    "use fit(..., parallel=True) for each": (
        lambda _: NUMPYRO.inference.SVI(epochs=1, batch_size=20).fit_seeds(
            of_numpyro(), TRAIN, seeds=[0], parallel=True
        ),
        lambda _: NUMPYRO.inference.SVI(epochs=1, batch_size=20).fit(
            *of_numpyro()(np.random.default_rng(0)), TRAIN, parallel=True
        ),
    ),
    "leave 'strengths' at None, or use TraceELBO (its beta)": (
        lambda _: with_strengths(inference.IWAE(2), [1.0, 2.0]),
        lambda _: with_strengths(inference.IWAE(2), None),
        *(
            lambda _, name=name: with_strengths(getattr(inference, name)(), [1.0, 2.0])
            for name in ("TraceELBO", "BetaTCVAE", "DIPVAE", "InfoVAE", "WAE")
        ),
        *(
            lambda _, name=name: with_strengths(getattr(inference, name)(), [1.0], inference.Adversarial)
            for name in ("FactorVAE", "WAEGAN", "AAE")
        ),
    ),
    "Use the SVI of ppl_vae.inference or ppl_vae.numpyro.inference": (
        lambda _: BaseSVI(epochs=1, batch_size=20).fit(*made(), TRAIN),
        fits(),
    ),
    "as partial(torch.optim.Adam, lr=1e-3) does": (
        fits(optim="adam"),
        fits(optim=partial(torch.optim.Adam, lr=1e-3)),
    ),
    "Make the model and the guide PyroModules, or use an objective of ppl_vae": (
        fits(loss=pyro.infer.RenyiELBO(0.0, 2), model_guide=hidden_modules),
        fits(loss=pyro.infer.RenyiELBO(0.0, 2)),
        fits(loss=inference.IWAE(2), model_guide=hidden_modules),
    ),
    "Lower the learning rate, clip the gradient (clip_norm=), or raise the floor of the scales": (
        fits(epochs=3, optim=partial(torch.optim.SGD, lr=1e30)),
        fits(epochs=3, optim=partial(torch.optim.SGD, lr=1e-3)),
        fits(epochs=3, optim=partial(torch.optim.SGD, lr=1e30), clip_norm=1e-32),
        lambda at: (
            refused(
                "start from smaller weights, or raise the floor of the scales",
                lambda: fits(model_guide=lambda: narrow(1e-22))(at),
            ),
            fits(model_guide=lambda: narrow(0.1))(at),
        )[1],
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str, tmp_path: Path) -> None:
    follow(says, tmp_path, *REMEDIES[says])
