"""Averaged codes, residual codes and grids, against their formulas, k-means and a public implementation."""

from __future__ import annotations

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracles import value_of
from pairs import P, toy, untrained
from sklearn.cluster import KMeans

from ppl_vae import backends, bounds, evaluation, objectives, recipes, seeds
from ppl_vae.arrays import quantisation
from ppl_vae.arrays.codebooks import Grid, Tables, codes_of
from ppl_vae.arrays.ops import stop_gradient
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.objectives.quantised import AveragedCodes
from ppl_vae.pairs.codebooks import codebook_of
from ppl_vae.pairs.terms import Latents, Terms
from ppl_vae.players import Sizes, View

LIBRARIES = {"numpy": np.asarray, "torch": lambda a: torch.as_tensor(np.array(a)), "jax": jnp.asarray}
X = [[0.220195, -1.009618], [-0.209176, -0.159225], [0.540846, 0.214659], [0.355373, -0.653829], [-0.129614, 0.783975]]
X.append([1.493431, -1.259066])
PUBLIC: dict[str, dict[str, Any]] = {
    "fsq": {
        "z": [[0.188595, -0.198157], [0.960634, 0.15735], [-0.803504, 0.542393], [1.956, 1.420621]],
        "codes": [[0.0, 0.0], [0.5, 0.0], [-0.5, 0.5], [1.0, 0.5]],
        "index": [12, 13, 16, 19],
        "gradient": [[0.966224, 0.734534], [0.446077, 0.588486], [0.557012, 0.371553], [0.076972, 0.082778]],
    },
    "lfq": {
        "z": [
            [-0.0703735, -0.1265421, -0.0623274],
            [0.0041326, -0.2325031, -0.0218792],
            [-0.1245911, -0.0732267, -0.0544259],
            [-0.03163, 0.0411631, 0.1042513],
            [-0.0128535, 0.1366463, -0.0665195],
        ],
        "codes": [[-1, -1, -1], [1, -1, -1], [-1, -1, -1], [-1, 1, 1], [-1, 1, -1]],
        "entropy": -0.899931,
        "gradient": [
            [0.575179, 0.204088, 0.553705],
            [-2.919297, 0.006515, -0.454154],
            [0.193027, 0.74985, 0.512142],
            [0.18496, -1.392021, -0.533215],
            [-0.247839, -0.207995, 1.221328],
        ],
    },
    "averaged": {
        "codebook": [[0.35151, 0.90347], [0.094012, -0.743499], [-0.921725, -0.457726]],
        "codes": [[0.324984, 0.829988], [0.208149, -0.751787], [-0.921725, -0.457726]],
        "counts": [1.1, 1.3, 0.9],
    },
    "residual": {
        "codebook": [
            [[1.513924, 1.345875], [0.781311, 0.264456], [-0.313923, 1.458021]],
            [[1.960258, 1.801635], [1.315104, 0.35738], [-1.208319, -0.004454]],
        ],
        "sum": [[-0.427008, 0.260002]] * 4 + [[1.001181, 1.815401], [2.096415, 0.621836]],
        "index": [[1, 2], [1, 2], [1, 2], [1, 2], [2, 1], [1, 1]],
    },
}
"""What vector-quantize-pytorch 1.32.0 computes: FSQ([5, 4]); LFQ of 3 bits, its entropy loss at inverse temperature 10;
VectorQuantize after a step of decay 0.9 from counts of 1, eps=1e-9; ResidualVQ of two codebooks, in evaluation."""


def two_codebooks(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, 3, 2))


def pair_of(backend: backends.Backend, codebook: Any, stages: int = 1) -> tuple[Any, Any]:
    """A linear pair of two vectors of two numbers."""
    rng, nets = np.random.default_rng(0), backend.nets
    codebook = codebook if isinstance(codebook, Grid) else nets.Codebook(codebook)
    encoder, decoder = nets.MLP((P, 4), rng), nets.MLP((4, P), rng)
    posterior = backend.conditionals.Nearest(encoder, codebook)
    net = nets.SummedCodes(decoder, stages, 2) if stages > 1 else decoder
    model = backend.models.VAE(backend.priors.CodePrior(codebook, 2 * stages), backend.conditionals.Bernoulli(net))
    return model, backend.guides.Amortised(posterior)


# -- a public implementation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_finite_scalar_quantiser_is_the_public_one(library: str) -> None:
    known, grid = PUBLIC["fsq"], Grid((5, 4))
    z = LIBRARIES[library](known["z"])
    bounded, codes = grid.stages(grid.bound(z))
    np.testing.assert_allclose(np.asarray(codes), known["codes"], atol=1e-6)
    index = grid.nearest(bounded)
    assert np.asarray(index).tolist() == known["index"]
    np.testing.assert_allclose(np.asarray(grid.look_up(index)), known["codes"], atol=1e-6)
    if library == "torch":
        z = z.requires_grad_()
        quantisation.straight_through(grid.bound(z), codes).sum().backward()
        np.testing.assert_allclose(z.grad, known["gradient"], rtol=1e-4)


@pytest.mark.parametrize("library", LIBRARIES)
def test_signs_and_their_entropy_penalty_are_the_public_ones(library: str) -> None:
    """Its logits are 2 e.c at an inverse temperature of 10: ours at a tenth."""
    known, grid = PUBLIC["lfq"], Grid((2, 2, 2), bounded=False)
    z = LIBRARIES[library](known["z"])
    np.testing.assert_array_equal(np.asarray(grid.stages(z)[1]), known["codes"])
    z = z.requires_grad_() if library == "torch" else z
    penalty = quantisation.entropy_penalty(z[:, None], grid.table(z), 0.1)
    assert float(stop_gradient(penalty)) == pytest.approx(known["entropy"], abs=1e-5)
    if library == "torch":
        penalty.backward()
        np.testing.assert_allclose(z.grad, known["gradient"], atol=1e-4)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_grid_of_a_billion_codes_numbers_each(library: str) -> None:
    """In integers, whatever the precision: single precision tells apart only the first 2^24."""
    grid, digits = Grid((3,) * 19), np.random.default_rng(0).integers(0, 3, (30, 19))
    vectors = LIBRARIES[library]((digits - 1.0).astype(np.float32))
    numbers = [sum(int(d) * 3**place for place, d in enumerate(row)) for row in digits]
    np.testing.assert_array_equal(np.asarray(grid.nearest(vectors)), numbers)
    np.testing.assert_array_equal(np.asarray(grid.stages(vectors)[1]), digits - 1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_codes_far_from_0_are_told_apart_as_codes_about_0(library: str) -> None:
    """By their distances in double precision; squares of such numbers have no digits left for them."""
    rng = np.random.default_rng(0)
    codes, vectors = (rng.normal(3000.0, 1.0, shape).astype(np.float32) for shape in ((1, 20, 3), (200, 1, 3)))
    found = np.asarray(Tables(LIBRARIES[library](codes)).nearest(LIBRARIES[library](vectors)))
    distances = ((vectors - codes.astype(float)) ** 2).sum(-1)
    np.testing.assert_array_equal(found[:, 0], distances.argmin(-1))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_step_of_averages_is_the_public_one(library: str) -> None:
    known, array = PUBLIC["averaged"], LIBRARIES[library]
    codebook, counts = quantisation.averaged(
        array([known["codebook"]]), array(np.ones((1, 3))), array(np.array(X)[None, :, None]), 0.9
    )
    np.testing.assert_allclose(np.asarray(codebook)[0], known["codes"], atol=1e-5)
    np.testing.assert_allclose(np.asarray(counts)[0], known["counts"], atol=1e-6)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_residual_codes_are_the_public_ones(library: str) -> None:
    known, array = PUBLIC["residual"], LIBRARIES[library]
    codes = Tables(array(known["codebook"]))
    before, chosen = codes.stages(array(np.array(X)[:, None]))
    np.testing.assert_allclose(np.asarray(chosen).sum(1), known["sum"], atol=1e-5)
    index = codes.nearest(before)
    assert np.asarray(index).tolist() == known["index"]
    np.testing.assert_array_equal(np.asarray(codes.look_up(index)), np.asarray(chosen))


def test_the_public_implementation_still_says_so() -> None:
    theirs = pytest.importorskip("vector_quantize_pytorch")
    x = torch.tensor(X)[None]
    for z in (x, torch.tensor(PUBLIC["fsq"]["z"])[None]):
        grid = Grid((7, 5))
        codes, index = theirs.FSQ([7, 5])(z)
        np.testing.assert_allclose(grid.stages(grid.bound(z))[1], codes, atol=1e-6)
        np.testing.assert_array_equal(grid.nearest(grid.bound(z)), index)


# -- averages -----------------------------------------------------------------------------------------------------


def test_averages_are_a_gradient_step_of_rate_one_less_decay_over_the_count() -> None:
    """On |sg(e) - c|^2 / 2, the codebook's term of the objective at weight 1/2."""
    rng = np.random.default_rng(0)
    table = torch.tensor(rng.normal(size=(2, 4, 3)), requires_grad=True)
    encoded, codes = Tables(table).stages(torch.tensor(rng.normal(size=(1, 7, 3, 3))))
    zero = torch.zeros(1, 7)
    latents = Latents(z=None, encoded=encoded, codes=codes)
    (-bounds.vq(Terms(zero, zero, zero, latents=latents), codebook=0.5, commitment=0.0)).sum().backward()
    counts = torch.tensor(rng.uniform(1, 5, (2, 4)))
    moved, after = quantisation.averaged(table.detach(), counts, encoded.detach(), 0.9)
    np.testing.assert_allclose(moved, (table - 0.1 / after[..., None] * table.grad).detach(), rtol=1e-10)
    found, sums = quantisation.counts_and_sums(encoded.detach(), table.detach())
    assert found.sum() == 7 * 3 * 2
    by_hand = (0.9 * counts[..., None] * table + 0.1 * sums) / (0.9 * counts + 0.1 * found)[..., None]
    np.testing.assert_allclose(moved, by_hand.detach(), rtol=1e-10)


def test_averages_of_fixed_vectors_end_at_the_centroids_of_k_means() -> None:
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(size=(30, 2)) + 20 * rng.normal(size=2) for _ in range(5)])
    start = vectors[::30] + 0.1
    codes, player = start[None], AveragedCodes(0.9)
    state = player.init(Sizes(0, 0, (1, 5, 2)), rng)
    for _ in range(100):
        for part in np.split(rng.permutation(vectors), 3):
            view = View(None, np.zeros(1), Latents(z=None, encoded=part[None, :, None], codebook=codes))
            state = state._replace(tracked=player.track(state.tracked, view))
            codes = player.codebook(state)
    centroids = KMeans(5, init=start, n_init=1).fit(vectors).cluster_centers_
    np.testing.assert_allclose(codes[0], centroids, atol=0.5)
    for _ in range(300):
        codes, _ = quantisation.averaged(codes, np.full((1, 5), 30.0), vectors[:, None], 0.9)
    np.testing.assert_allclose(codes[0], centroids, atol=1e-6)


def test_a_code_without_vectors_stays_for_ever() -> None:
    far = np.array([[[0.0], [100.0]]], np.float32)
    codes, counts = far, np.full((1, 2), 1e-44, np.float32)
    for _ in range(3):
        codes, counts = quantisation.averaged(codes, counts, np.zeros((1, 1, 1), np.float32), 0.5)
    np.testing.assert_array_equal(codes, far)


def steps_by_hand(own: Any, x: np.ndarray, decay: float) -> np.ndarray:
    codes = codes_of(own.posterior.codebook.array()).vectors
    encoded = codes_of(codes).stages(own.posterior.encodings(x)[:, None])[0]
    return quantisation.averaged(codes, np.ones(codes.shape[:2]), encoded, decay)[0]


def test_a_training_moves_codes_by_the_averages_alone(backend: backends.Backend, tmp_path: Any) -> None:
    """One step is that of the formula; a resumed training, and one of two seeds, go on alike."""
    x, at = toy(20), tmp_path / "checkpoint"
    programs = pair_of(backend, two_codebooks(), 2)
    expected = steps_by_hand(programs[1], x, 0.9)

    def fit(epochs: int, **options: Any) -> Any:
        svi = backend.inference.SVI(backend.inference.VQELBO(decay=0.9, codebook=7.0), epochs=epochs, batch_size=20)
        return svi.fit(*programs, x, **options)

    fit(1, checkpoint=at)
    whole, resumed = fit(2), fit(2, checkpoint=at, resume=True)
    for name, value in whole.pair.state().items():
        np.testing.assert_array_equal(value, resumed.pair.state()[name])
    assert (codebook_of(whole.pair) != expected).any()
    np.testing.assert_allclose(codebook_of(fit(1).pair), expected, rtol=1e-4, atol=1e-5)
    svi = backend.inference.SVI(backend.inference.VQELBO(decay=0.9, codebook=7.0), epochs=2, batch_size=20)
    twice = svi.fit_seeds(lambda rng: programs, x, seeds=(0, 1))
    np.testing.assert_allclose(codebook_of(twice[0].pair), codebook_of(whole.pair), rtol=1e-4, atol=1e-5)
    for loss in (svi.loss, backend.inference.VQELBO(restart_codes=True)):
        with pytest.raises(ValueError, match="freeze_model=True keeps the model as it is: leave decay at None"):
            backend.inference.SVI(loss, batch_size=20, freeze_model=True).fit(*programs, x)


# -- residual codes and grids under the objective -----------------------------------------------------------------


@pytest.mark.release("numpyro", keep=["residual"])
@pytest.mark.parametrize(
    ("codebook", "stages"),
    [(two_codebooks(), 2), (Grid((3, 4)), 1)],
    ids=["residual", "fsq"],
)
def test_the_elbo_is_exact_and_below_the_sum_over_all_codes(
    backend: backends.Backend, codebook: Any, stages: int
) -> None:
    x = toy(5)
    model, guide = pair_of(backend, codebook, stages)
    fit = untrained(model, guide, backend, x)
    tables = codebook.array()[None] if isinstance(codebook, Grid) else codebook
    size, net = tables.shape[1], model.likelihood.net
    net = net.net if stages > 1 else net
    weight, bias = (np.array(getattr(net.layers[0], name).tolist()) for name in ("weight", "bias"))

    def log_lik(index: np.ndarray) -> np.ndarray:
        """log p(x | z) of codes (..., 2 L)."""
        vectors = tables[np.arange(2 * stages) % stages, index].reshape(*index.shape[:-1], 2, stages, 2).sum(-2)
        logits = vectors.reshape(*index.shape[:-1], 4) @ weight.T + bias
        return (x * logits - np.logaddexp(0, logits)).sum(-1)

    vectors, index = guide.posterior.encodings(x).reshape(5, 2, 2).astype(float), []
    for stage in range(stages):
        index.append(np.linalg.norm(vectors[..., None, :] - tables[stage], axis=-1).argmin(-1))
        vectors = vectors - tables[stage][index[-1]]
    prior = 2 * stages * np.log(size)
    expected = log_lik(np.stack(index, -1).reshape(5, -1)) - prior
    found = evaluation.elbo(fit, x, 1)
    np.testing.assert_allclose(found.values, expected, rtol=1e-4)
    assert -value_of(backend, backend.inference.VQELBO(entropy=0.3), fit.pair, x) == pytest.approx(found.values.sum())
    every = np.array(list(itertools.product(range(size), repeat=2 * stages)))
    log_p = np.logaddexp.reduce(log_lik(every[:, None]) - prior, 0)
    np.testing.assert_allclose(evaluation.exact_log_likelihood(fit, x, max_configurations=len(every)), log_p, rtol=1e-4)
    assert (found.values < log_p).all()


def test_the_gradient_of_a_residual_encoder_is_that_at_the_sum_and_of_each_stage() -> None:
    rng = np.random.default_rng(0)
    tables, slope = rng.normal(size=(3, 4, 2)), torch.tensor(rng.normal(size=(5, 2, 2)))
    vectors = torch.tensor(rng.normal(size=(5, 2, 2)), requires_grad=True)
    before, codes = Tables(torch.tensor(tables)).stages(vectors)
    sums = quantisation.straight_through(vectors, codes).reshape(5, 2, 3, 2).sum(-2)
    zero = torch.zeros(1, 5)
    latents = Latents(z=None, encoded=before[None], codes=codes[None])
    surrogate = bounds.vq(Terms(zero, zero, zero, latents=latents), codebook=1.0, commitment=0.7)
    ((slope * sums).sum() + surrogate.sum()).backward()
    apart = (before - codes).detach().reshape(5, 2, 3, 2).sum(-2)
    np.testing.assert_allclose(vectors.grad, slope - 1.4 * apart, rtol=1e-10)


@pytest.mark.parametrize("kind", ["residual-vq", "fsq", "lfq"])
def test_a_recipe_has_each_kind(kind: str) -> None:
    x = toy(40)
    settings: dict[str, Any] = {"num_codes": 3, "code_dim": 2} if kind == "residual-vq" else {}
    recipe = recipes.vae(x, latents=kind, prior="factorised", latent_dim=2, hidden=(5,), **settings)
    b = backends.load("pyro")
    svi = b.inference.SVI(b.inference.VQELBO(), epochs=2, batch_size=20)
    fit = svi.fit(*recipe(seeds.generator(0, "weights")), x, valid=x)
    assert fit.generate(3).shape == (3, P)
    np.testing.assert_allclose(fit.decode(fit.encode(x)), fit.reconstruct(x), rtol=1e-4, atol=1e-5)
    slots = 4 if kind == "residual-vq" else 2
    assert tuple(fit.model.prior.inner().event_shape) == (slots,), "each code of each stage"
    used, perplexity = quantisation.usage(fit.encode(x), slots)
    assert fit.history["codes_used"][-1] == used and fit.history["perplexity"][-1] == pytest.approx(perplexity)
    assert recipes.Recipe.from_dict(recipe.to_dict()) == recipe


def test_codes_that_no_datum_has_start_again_at_each_stage() -> None:
    x, tables = toy(40), two_codebooks()
    tables[:, 1:] += 100.0
    b = backends.load("pyro")
    svi = b.inference.SVI(b.inference.VQELBO(restart_codes=True), epochs=2, batch_size=20)
    codes = codebook_of(svi.fit(*pair_of(b, tables, 2), x).pair)
    assert (np.abs(codes) < 20).all()


def of(grid: bool, **settings: Any) -> None:
    b = backends.load("pyro")
    own = untrained(*pair_of(b, Grid((3, 4)) if grid else two_codebooks(), 1 if grid else 2), b)
    objectives.VQELBO(**settings).check(own.sites)


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in ({"decay": 0.9}, {"restart_codes": True}):
        of(False, **settings)
        with pytest.raises(UnsuitableObjective, match="are a fixed grid: leave decay at None and restart_codes"):
            of(True, **settings)
    for decay in (0.0, 1.0, -0.5, 1.5):
        with pytest.raises(ValueError, match=r"'decay' should be above 0 and below 1"):
            objectives.VQELBO(decay=decay)
    monkeypatch.setattr("ppl_vae.objectives.quantised.MOST_CHOICES", 11)
    of(True)
    with pytest.raises(
        UnsuitableObjective, match="at most 11, and the site 'z' has 12: take fewer codes, or entropy=0"
    ):
        of(True, entropy=0.1)
    for levels in ((), (2, 3), (3, 2.0), 5, (3, True)):
        with pytest.raises(ValueError, match="should be integers of at least 3, one for each number of a code"):
            Grid(levels)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="integers of at least 2"):
        Grid((1, 2), bounded=False)
    with pytest.raises(ValueError, match="too long a list"):
        Grid((2,) * 20, bounded=False).array()
    with pytest.raises(ValueError, match="3 codes side by side do not part into those of 2 codebooks"):
        backends.load("pyro").priors.CodePrior(backends.load("pyro").nets.Codebook(two_codebooks()), 3)()
    with pytest.raises(ValueError, match="which does not divide them"):
        posterior = pair_of(backends.load("pyro"), Grid((3, 4, 5)))[1].posterior
        posterior.encodings(toy(2))
    with pytest.raises(ValueError, match="tells nothing about x"):
        quantisation.check_codebook(np.zeros((2, 1, 3)))


@pytest.mark.parametrize("codebook", [Grid((3, 4)), two_codebooks()], ids=["grid", "residual"])
def test_a_vector_that_is_not_finite_has_no_code(codebook: Any) -> None:
    b = backends.load("pyro")
    stages = 1 if isinstance(codebook, Grid) else 2
    model, guide = pair_of(b, codebook, stages)
    guide.posterior.net.layers[0].bias.data[0] = float("nan")
    assert np.isnan(untrained(model, guide, b).terms(toy(4)).log_lik).all()
