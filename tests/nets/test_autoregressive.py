"""Autoregressive nets and the distributions over them: enumeration, the Jacobian, both backends, draws in steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from pairs import toy, untrained

from ppl_vae import backends, data, evaluation

NETS: dict[str, Callable[[Any, tuple[int, int], int | None, np.random.Generator], Any]] = {
    "made": lambda nets, shape, categories, rng: nets.MADE(
        shape[0] * shape[1], (20,), rng, num_categories=categories, activation="tanh"
    ),
    "pixelcnn": lambda nets, shape, categories, rng: nets.PixelCNN(
        shape, rng, channels=8, layers=max(shape), kernel=3, num_categories=categories
    ),
    "transformer": lambda nets, shape, categories, rng: nets.CausalTransformer(
        shape[0] * shape[1], rng, width=8, layers=2, heads=2, num_categories=categories
    ),
}
"""Name -> a net over the pixels of an image of that shape."""


IN_STEPS = ("pixelcnn", "transformer")
"""Those that draw in steps of their own."""

CONTEXT: dict[str, Callable[[Any, np.random.Generator], Any]] = {
    "made": lambda nets, rng: nets.MADE(6, (20,), rng, activation="tanh", context_dim=2),
    "pixelcnn": lambda nets, rng: nets.PixelCNN((2, 3), rng, channels=4, layers=2, kernel=3, context_dim=2),
    "transformer": lambda nets, rng: nets.CausalTransformer(6, rng, width=8, layers=2, heads=2, context_dim=2),
}
"""Name -> a net over six pixels given two numbers."""


def with_context(name: str, backend: backends.Backend) -> Any:
    return CONTEXT[name](backend.nets, np.random.default_rng(0))


def as_array(values: np.ndarray, backend: backends.Backend) -> Any:
    if backend.name == "numpyro":
        return jnp.asarray(values)
    return torch.as_tensor(values, dtype=torch.get_default_dtype() if values.dtype.kind == "f" else None)


def made(name: str, backend: backends.Backend, shape: tuple[int, int], categories: int | None, seed: int = 0) -> Any:
    """A net of the table with weights far from 0, so that the entries depend on each other."""
    net = NETS[name](backend.nets, shape, categories, np.random.default_rng(seed))
    if backend.name == "pyro":
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(1.7).add_(0.05)
        return net
    from flax import nnx

    graph, state = nnx.split(net)
    return nnx.merge(graph, jax.tree.map(lambda a: 1.7 * a + 0.05, state))


def every(entries: int, values: int) -> np.ndarray:
    return np.array(list(itertools.product(range(values), repeat=entries)))


def computed(function: Callable[..., Any], backend: backends.Backend, *arrays: np.ndarray) -> np.ndarray:
    """What a function of arrays returns."""
    function = function if backend.name == "pyro" else jax.jit(function)
    return np.asarray(function(*(as_array(a, backend) for a in arrays)).tolist())


def log_probs(net: Any, x: np.ndarray, backend: backends.Backend) -> np.ndarray:
    x = x if net.num_categories else x.astype(float)
    return computed(backend.priors.Autoregressive(net)().log_prob, backend, x)


def draws(distribution: Any, backend: backends.Backend, count: int, seed: int = 0) -> np.ndarray:
    if backend.name == "pyro":
        torch.manual_seed(seed)
        return distribution.sample((count,)).numpy()
    return np.asarray(jax.jit(lambda key: distribution.sample(key, (count,)))(jax.random.key(seed)))


@pytest.mark.release("numpyro", keep=["transformer"])
@pytest.mark.parametrize("name", NETS)
def test_probabilities_of_all_images_add_up_to_one(name: str, backend: backends.Backend, float64: None) -> None:
    for shape, categories in (((3, 3), None), ((2, 2), 3)):
        x = every(shape[0] * shape[1], categories or 2)
        assert np.exp(log_probs(made(name, backend, shape, categories), x, backend)).sum() == pytest.approx(
            1, abs=1e-12
        )


@pytest.mark.parametrize("name", NETS)
def test_a_logit_depends_on_all_pixels_before_it_and_on_no_other(
    name: str, backend: backends.Backend, float64: None
) -> None:
    net, images = made(name, backend, (4, 5), None), np.random.default_rng(0).random((6, 20))
    if backend.name == "pyro":
        jacobians = [torch.autograd.functional.jacobian(net, torch.tensor(x)).numpy() for x in images]
    else:
        jacobians = jax.jit(jax.vmap(jax.jacrev(net)))(jnp.asarray(images))
    reached = np.abs(jacobians).max(0) > 0
    np.testing.assert_array_equal(reached, np.tri(20, k=-1))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("categories", [None, 3])
def test_both_backends_have_the_same_density(name: str, categories: int | None) -> None:
    x = np.random.default_rng(0).integers(categories or 2, size=(5, 2, 12))
    one, other = (log_probs(made(name, b, (4, 3), categories), x, b) for b in map(backends.load, ("pyro", "numpyro")))
    assert one.shape == (5, 2)
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.release("numpyro", keep=["None-made", "None-pixelcnn", "3-transformer"])
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("categories", [None, 3])
def test_draws_have_the_probabilities(name: str, categories: int | None, backend: backends.Backend) -> None:
    net, count, values = made(name, backend, (2, 2), categories), 4000, categories or 2
    x = every(4, values)
    drawn = draws(backend.priors.Autoregressive(net)(), backend, count)
    found = np.bincount(drawn.astype(int) @ values ** np.arange(3, -1, -1), minlength=len(x))
    expected = count * np.exp(log_probs(net, x, backend))
    assert np.abs((found - expected) / np.sqrt(expected + 1)).max() < 4.5


@pytest.mark.release("numpyro", keep=["3-pixelcnn", "None-transformer"])
@pytest.mark.parametrize("name", IN_STEPS)
@pytest.mark.parametrize("categories", [None, 3])
def test_draws_in_steps_are_those_of_the_whole_net(
    name: str, categories: int | None, backend: backends.Backend
) -> None:
    net = made(name, backend, (3, 4), categories)
    bits, several = backend.distributions.AutoregressiveBernoulli, backend.distributions.AutoregressiveCategorical
    in_steps, whole = (
        draws(bits(of, net.order) if categories is None else several(of, net.order, categories), backend, 50)
        for of in (net, lambda x: net(x))
    )
    assert len(np.unique(whole, axis=0)) > 10
    np.testing.assert_array_equal(in_steps, whole)


def test_values_that_are_no_categories_have_probability_zero(backend: backends.Backend) -> None:
    net = made("made", backend, (2, 2), 3)
    x = np.array([[0.0, 1, 2, 2], [0, 1, 2, 3], [-1, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 0, np.nan]])
    assert np.isfinite(log_probs(net, x, backend)).tolist() == [True, False, False, False, False]


def test_wrong_sizes_and_orders_are_refused(backend: backends.Backend) -> None:
    net = made("made", backend, (2, 2), 3)
    with pytest.raises(ValueError, match=r"made for 4 pixels or codes.*got an array of shape \(2, 5\)"):
        net(as_array(np.zeros((2, 5)), backend))
    with pytest.raises(ValueError, match="'num_categories' should be an integer of at least 2"):
        backend.nets.MADE(4, (8,), np.random.default_rng(0), num_categories=1)
    kind = backend.distributions.AutoregressiveCategorical
    with pytest.raises(ValueError, match=r"order=net\.order"):
        kind(net, (3, 2, 1, 0), 3)
    with pytest.raises(ValueError, match=r"should return logits \(\.\.\., 4, 5\); got shape \(4, 3\)"):
        kind(net, net.order, 5).log_prob(as_array(np.zeros(4, int), backend))
    bits = backend.distributions.AutoregressiveBernoulli(lambda x: x[..., :1], (0, 1, 2))
    with pytest.raises(ValueError, match=r"should return logits \(\.\.\., 3\); got shape \(2, 1\)"):
        bits.log_prob(as_array(np.zeros((2, 3)), backend))


@pytest.mark.parametrize("kernel", [0, 1, 4, 3.5])
def test_a_window_without_a_middle_is_refused(kernel: float, backend: backends.Backend) -> None:
    with pytest.raises(ValueError, match="'kernel' should be an odd number of at least 3"):
        backend.nets.PixelCNN((4, 4), np.random.default_rng(0), kernel=kernel)


@pytest.mark.parametrize("shape", [(16,), (4, 4, 1), (0, 4)])
def test_an_image_without_height_and_width_is_refused(shape: tuple[int, ...], backend: backends.Backend) -> None:
    with pytest.raises(ValueError, match=r"'image_shape' should be \(H, W\)"):
        backend.nets.PixelCNN(shape, np.random.default_rng(0))


def test_heads_that_do_not_divide_the_width_are_refused(backend: backends.Backend) -> None:
    for heads in (0, 3, 2.5):
        with pytest.raises(ValueError, match="'heads' should divide 'width', 8"):
            backend.nets.CausalTransformer(4, np.random.default_rng(0), width=8, heads=heads)


def test_grey_levels_have_no_density_and_intensities_that_are_binarised_do(backend: backends.Backend) -> None:
    digits = data.load("digits").subset(40, 20, 20)
    net = backend.nets.MADE(64, (4,), np.random.default_rng(0))
    model = backend.models.FullyVisible(backend.priors.Autoregressive(net))
    svi = backend.inference.SVI(epochs=1, batch_size=20)
    with pytest.raises(ValueError, match="'data' should hold 0 and 1 .* as if it had been drawn"):
        svi.fit(model, backend.guides.Empty(), digits.with_binarisation("none"))
    fit = svi.fit(model, backend.guides.Empty(), digits.with_binarisation("dynamic"))
    assert np.isfinite(evaluation.elbo(fit, digits.with_binarisation("dynamic").test, 1).mean)
    with pytest.raises(ValueError, match="'x' should hold 0 and 1"):
        evaluation.elbo(fit, digits.with_binarisation("none").test, 1)


# A context


@pytest.mark.release("numpyro", keep=["pixelcnn"])
@pytest.mark.parametrize("name", CONTEXT)
def test_a_context_reaches_every_pixel_and_draws_are_given_it(name: str, backend: backends.Backend) -> None:
    net, context = with_context(name, backend), np.random.default_rng(1).normal(size=(6, 2))
    own = backend.nets.Conditioned(net, as_array(context, backend))
    x = np.random.default_rng(2).integers(2, size=(5, 6, 6)).astype(float)
    logits = computed(own, backend, x)
    one_by_one = [computed(net, backend, x[:, row], context[row]) for row in range(6)]
    np.testing.assert_allclose(logits, np.stack(one_by_one, 1), rtol=1e-4, atol=1e-5)
    assert (np.abs(logits - computed(net, backend, x, -context)) > 1e-6).all()
    kind = backend.distributions.AutoregressiveBernoulli
    in_steps, whole = (draws(kind(of, net.order, batch_shape=(6,)), backend, 4) for of in (own, lambda x: own(x)))
    np.testing.assert_array_equal(in_steps, whole)


@pytest.mark.parametrize("name", CONTEXT)
def test_a_context_of_another_width_is_refused(name: str, backend: backends.Backend) -> None:
    x = as_array(np.zeros((3, 6)), backend)
    with pytest.raises(ValueError, match=r"made for a context \(\.\.\., 2\); got none"):
        with_context(name, backend)(x)
    with pytest.raises(ValueError, match=r"made for no context; got one of shape \(3, 4\)"):
        made(name, backend, (2, 3), None)(x, as_array(np.zeros((3, 4)), backend))


# Priors of discrete latents


def with_prior(prior: Any, backend: backends.Backend) -> tuple[Any, Any]:
    """A fit of three variables of four categories, with weights as they are, and its decoder."""
    rng, nets = np.random.default_rng(3), backend.nets
    decoder = nets.OneHot(nets.MLP((12, toy().shape[1]), rng), 4)
    model = backend.models.VAE(prior, backend.conditionals.Bernoulli(decoder))
    guide = backend.guides.Amortised(backend.conditionals.Categorical(nets.MLP((toy().shape[1], 12), rng), 4))
    return untrained(model, guide, backend), decoder


def test_log_p_under_an_autoregressive_prior_is_a_sum_over_all_codes(backend: backends.Backend) -> None:
    net, x, z = made("made", backend, (1, 3), 4), toy(5), every(3, 4)
    fit, decoder = with_prior(backend.priors.Autoregressive(net), backend)
    logits = np.asarray(decoder(as_array(z, backend)).tolist())
    joint = (x[:, None] * logits - np.logaddexp(0, logits)).sum(-1) + log_probs(net, z, backend)
    np.testing.assert_allclose(evaluation.exact_log_likelihood(fit, x), np.logaddexp.reduce(joint, -1), rtol=1e-4)
    annealed = evaluation.ais(fit, x, evaluation.Annealing(num_temperatures=30, num_chains=20))
    np.testing.assert_allclose(annealed.values, np.logaddexp.reduce(joint, -1), atol=1.0)


def test_a_prior_over_other_categories_is_refused(backend: backends.Backend) -> None:
    for prior in (
        backend.priors.Autoregressive(made("made", backend, (1, 3), 5)),
        backend.priors.FactorisedCategorical(3, 5),
    ):
        with pytest.raises(ValueError, match="4 values.*5|5.*4 values"):
            with_prior(prior, backend)


@pytest.mark.release("numpyro")
def test_a_learned_table_begins_uniform_and_is_an_inner_prior(backend: backends.Backend) -> None:
    codebook = backend.nets.Codebook(np.random.default_rng(0).normal(size=(4, 2)))
    z = np.random.default_rng(1).integers(4, size=(6, 3))
    vectors = as_array(codebook.array()[z].reshape(6, -1), backend)
    table = backend.priors.FactorisedCategorical(3, 4)
    uniform = backend.priors.CodePrior(codebook, 3, table)().log_prob(vectors)
    np.testing.assert_allclose(np.asarray(uniform.tolist()), -3 * np.log(4), rtol=1e-6)
    net = made("made", backend, (1, 3), 4)
    prior = backend.priors.CodePrior(codebook, 3, backend.priors.Autoregressive(net))()
    np.testing.assert_allclose(np.asarray(prior.log_prob(vectors).tolist()), log_probs(net, z, backend), rtol=1e-5)
    assert draws(prior, backend, 7).shape == (7, 6)
    with pytest.raises(ValueError, match="inner prior of 2 codes of 4"):
        backend.priors.CodePrior(codebook, 2, backend.priors.Autoregressive(net))()
