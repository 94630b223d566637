"""Convolutional nets: two ways to compute them and torch's agree; the decoder transposes the encoder; any sizes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from pairs import command, common_names, fit, toy

from ppl_vae import backends, init, nets, recipes
from ppl_vae.cli.runs import FIT
from ppl_vae.numpyro import nets as numpyro_nets
from ppl_vae.numpyro.nets import convolve, convolve_transposed, find_method
from ppl_vae.numpyro.nets.convolutions import METHODS
from ppl_vae.results import Fit

SIZES = [(4, 4), (8, 6), (7, 5), (2, 3), (9, 8)]
"""Height and width, even and odd."""


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def close(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    """Equal to the tolerance, relative to the largest number."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


def torch_convolve(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """By torch, on images (N, H, W, C)."""
    y = torch.nn.functional.conv2d(torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(weight), stride=2, padding=1)
    return y.permute(0, 2, 3, 1).numpy()


# One function, three ways


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_a_convolution_is_that_of_torch_and_of_its_definition(method: str, size: tuple[int, int]) -> None:
    x, weight = drawn(2, *size, 3), drawn(5, 3, 4, 4)
    y = np.asarray(convolve(x, weight, method=method))
    close(y, torch_convolve(x, weight))
    around = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    i, j = y.shape[1] - 1, y.shape[2] - 1
    window = around[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
    close(y[:, i, j], np.einsum("nabc,ocab->no", window, weight))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_the_transposed_convolution_is_that_of_torch_and_the_adjoint(method: str, size: tuple[int, int]) -> None:
    x, weight = drawn(2, *size, 3), drawn(5, 3, 4, 4)
    y, odd = drawn(2, size[0] // 2, size[1] // 2, 5), (size[0] % 2, size[1] % 2)
    back = np.asarray(convolve_transposed(y, weight, odd=odd, method=method), np.float64)
    theirs = torch.nn.functional.conv_transpose2d(
        torch.tensor(y).permute(0, 3, 1, 2), torch.tensor(weight), stride=2, padding=1, output_padding=odd
    )
    close(back, theirs.permute(0, 2, 3, 1))
    forth = np.asarray(convolve(x, weight, method=method), np.float64)
    assert (forth * y).sum() == pytest.approx((x * back).sum(), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("size", [(8, 6), (7, 5)])
def test_gradients_of_both_ways_are_those_of_torch(size: tuple[int, int]) -> None:
    """Of images and weights, also once more differentiated, as semi-amortised guides do."""
    x, weight, odd = drawn(2, *size, 3), drawn(5, 3, 4, 4), (size[0] % 2, size[1] % 2)

    def there_and_back(x: jax.Array, weight: jax.Array, method: str) -> jax.Array:
        y = jnp.tanh(convolve(x, weight, method=method))
        return jnp.sin(convolve_transposed(y, weight, odd=odd, method=method)).sum()

    def norm(x: jax.Array, weight: jax.Array, method: str) -> jax.Array:
        return sum(jnp.sum(g**2) for g in jax.grad(there_and_back, (0, 1))(x, weight, method))  # type: ignore[return-value]

    tx = torch.tensor(x).permute(0, 3, 1, 2).requires_grad_()
    tw = torch.tensor(weight, requires_grad=True)
    y = torch.tanh(torch.nn.functional.conv2d(tx, tw, stride=2, padding=1))
    back = torch.nn.functional.conv_transpose2d(y, tw, stride=2, padding=1, output_padding=odd)
    first = torch.autograd.grad(torch.sin(back).sum(), (tx, tw), create_graph=True)
    second = torch.autograd.grad(sum((g**2).sum() for g in first), (tx, tw))
    for function, (of_x, of_w) in ((there_and_back, first), (norm, second)):
        for method in METHODS:
            ours = jax.jit(jax.grad(function, (0, 1)), static_argnums=2)(x, weight, method)
            close(ours[0], of_x.detach().permute(0, 2, 3, 1), 1e-4 if function is norm else 1e-5)
            close(ours[1], of_w.detach(), 1e-4 if function is norm else 1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_vmapped_over_weights_each_has_its_own(method: str) -> None:
    """As replicas are trained: the same images, or images of their own."""
    x, weights = drawn(3, 2, 6, 5, 3), drawn(3, 5, 3, 4, 4)
    each = [convolve(x[i], weights[i], method=method) for i in range(3)]
    close(jax.vmap(lambda x, w: convolve(x, w, method=method))(x, weights), each)
    shared = [convolve(x[0], w, method=method) for w in weights]
    close(jax.vmap(lambda w: convolve(x[0], w, method=method))(weights), shared)
    back = [convolve_transposed(y, w, odd=(0, 1), method=method) for y, w in zip(each, weights, strict=True)]
    close(jax.vmap(lambda y, w: convolve_transposed(y, w, odd=(0, 1), method=method))(jnp.stack(each), weights), back)


def test_double_precision_is_kept(float64: None) -> None:
    """And images in single precision fit weights in double."""
    x, weight = drawn(2, 6, 5, 3), drawn(5, 3, 4, 4).astype(float)
    ys = [convolve(x.astype(float), weight, method=method) for method in METHODS]
    assert all(y.dtype == np.float64 for y in ys)
    close(ys[0], ys[1], 1e-13)
    close(convolve(x, weight, method="lax"), ys[0], 1e-13)


def test_the_way_is_chosen_by_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [find_method(m) for m in METHODS] == list(METHODS)
    with jax.default_device(jax.devices("cpu")[0]):
        assert find_method() == "matmul"
        assert "conv_general_dilated" not in str(jax.make_jaxpr(convolve)(drawn(1, 4, 4, 1), drawn(1, 1, 4, 4)))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert find_method() == "lax"
    assert "conv_general_dilated" in str(jax.make_jaxpr(convolve)(drawn(1, 4, 4, 1), drawn(1, 1, 4, 4)))
    with pytest.raises(ValueError, match=r"Unknown method 'fft' of a convolution; there are matmul, lax, or None\."):
        find_method("fft")


# Nets


SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((8, 8), (4, 5)), ((7, 5, 3), (4, 5)), ((4, 3), (4,))]
"""Of an image, and the channels."""


@pytest.mark.release("numpyro", keep=["shape1-channels1"])
@pytest.mark.parametrize("lead", [(), (5,), (2, 5), (3, 2, 5), (0,)])
@pytest.mark.parametrize(("shape", "channels"), SHAPES)
def test_any_leading_dims_on_both(
    backend: backends.Backend, shape: tuple[int, ...], channels: tuple[int, ...], lead: tuple[int, ...]
) -> None:
    array: Any = torch.tensor if backend.name == "pyro" else jnp.asarray
    rng, pixels = np.random.default_rng(0), int(np.prod(shape))
    encoder = backend.nets.ConvEncoder(shape, 6, rng, channels=channels, hidden=(7,))
    decoder = backend.nets.ConvDecoder(3, shape, rng, channels=channels[::-1], hidden=(7,), parts=2)
    for net, (inp, out) in ((encoder, (pixels, 6)), (decoder, (3, 2 * pixels))):
        h = drawn(*lead, inp)
        net = net if backend.name == "pyro" else nnx.jit(net)
        values = net(array(h))
        assert values.shape == (*lead, out)
        if lead and 0 not in lead:
            flat = net(array(h.reshape(-1, inp)))
            one = net(array(h[(0,) * len(lead)]))
            close(values.reshape(-1, out).tolist(), flat.tolist(), 1e-4)
            close(values[(0,) * len(lead)].tolist(), one.tolist(), 1e-4)


@pytest.mark.release(keep=["shape1-channels1", "shape2-channels2"])
@pytest.mark.parametrize(("shape", "channels"), SHAPES)
def test_both_backends_have_the_same_parameters_and_values(shape: tuple[int, ...], channels: tuple[int, ...]) -> None:
    x, z = drawn(5, int(np.prod(shape)) + 2), drawn(5, 3)
    encoders = [
        n.ConvEncoder(shape, 6, np.random.default_rng(0), channels=channels, given_dim=2) for n in (nets, numpyro_nets)
    ]
    decoders = [
        n.ConvDecoder(3, shape, np.random.default_rng(0), channels=channels[::-1], parts=2)
        for n in (nets, numpyro_nets)
    ]
    for (ours, theirs), h in ((encoders, x), (decoders, z)):
        named = {name: p.detach().numpy() for name, p in ours.named_parameters()}
        leaves = {".".join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(nnx.state(theirs, nnx.Param))}
        assert set(named) == set(leaves)
        for name, value in named.items():
            np.testing.assert_array_equal(value, leaves[name])
            assert not name.endswith("bias") or not value.any()
        close(ours(torch.tensor(h)).detach(), theirs(jnp.asarray(h)))


def test_the_default_nets_have_the_sizes_that_they_say() -> None:
    """64 x 64 pixels, four convolutions to 32 channels, 512 - 256 units, and back."""
    encoder = nets.ConvEncoder((64, 64), 20, np.random.default_rng(0))
    decoder = nets.ConvDecoder(10, (64, 64), np.random.default_rng(0))
    assert [tuple(p.shape) for p in encoder.parameters() if p.ndim > 1] == [
        (32, 1, 4, 4), (32, 32, 4, 4), (32, 32, 4, 4), (32, 32, 4, 4), (256, 512), (20, 256)]  # fmt: skip
    assert [tuple(p.shape) for p in decoder.parameters() if p.ndim > 1] == [
        (256, 10), (512, 256), (32, 32, 4, 4), (32, 32, 4, 4), (32, 32, 4, 4), (32, 1, 4, 4)]  # fmt: skip
    assert decoder(encoder(torch.zeros(2, 4096))[:, :10]).shape == (2, 4096)


def test_pixels_are_in_the_order_of_images(backend: backends.Backend) -> None:
    """A pixel of the flat image moves the outputs whose windows see that row and column, and no others."""
    array: Any = torch.tensor if backend.name == "pyro" else jnp.asarray
    net = backend.nets.ConvDecoder(1, (4, 6, 2), np.random.default_rng(0), channels=(1,), hidden=())
    layer, last = net.layers[0], net.convolutions[0]
    images = []
    for k in range(6):  # the small image has 2 x 3 pixels
        weight = np.zeros((6, 1), np.float32)
        weight[k] = 1
        if backend.name == "pyro":
            layer.weight.data = torch.tensor(weight)
            last.weight.data = torch.ones_like(last.weight.data) * torch.tensor([1.0, 2.0])[None, :, None, None]
        else:
            layer.weight[...] = jnp.asarray(weight)
            last.weight[...] = jnp.ones((1, 2, 4, 4)) * jnp.array([1.0, 2.0])[None, :, None, None]
        images.append(np.asarray(net(array(np.ones(1, np.float32))).tolist()).reshape(4, 6, 2))
    for k, image in enumerate(images):
        i, j = divmod(k, 3)
        expected = np.zeros((4, 6))
        expected[max(0, 2 * i - 1) : 2 * i + 3, max(0, 2 * j - 1) : 2 * j + 3] = 1
        np.testing.assert_array_equal(image, expected[..., None] * [1, 2])


def test_numbers_beside_the_pixels_go_round_the_convolutions(backend: backends.Backend) -> None:
    """With a linear perceptron what they add does not depend on the image."""
    array: Any = torch.tensor if backend.name == "pyro" else jnp.asarray
    net = backend.nets.ConvEncoder((4, 4), 3, np.random.default_rng(0), channels=(2,), hidden=(), given_dim=2)
    x, beside = drawn(5, 16), drawn(1, 2)
    with_them = net(array(np.concatenate([x, np.repeat(beside, 5, 0)], -1)))
    without = net(array(np.concatenate([x, np.zeros((5, 2), np.float32)], -1)))
    added = np.asarray((with_them - without).tolist())
    assert np.abs(added).max() > 0.1
    np.testing.assert_allclose(added, np.repeat(added[:1], 5, 0), atol=1e-5)


@pytest.mark.parametrize("draw", [init.xavier_uniform, init.xavier_normal])
def test_kernels_are_drawn_with_the_variance_of_xavier(draw: init.KernelInitialiser) -> None:
    """2 / (fan in + fan out), both with the 16 entries of a kernel: what torch's own has."""
    weight = draw(np.random.default_rng(0), 60, 40, (4, 4))
    theirs = getattr(torch.nn.init, f"{draw.__name__}_")(torch.empty(60, 40, 4, 4))
    assert weight.std() == pytest.approx(np.sqrt(2 / (100 * 16)), rel=0.02)
    assert weight.std() == pytest.approx(theirs.std().item(), rel=0.02)


@pytest.mark.parametrize("name", ["kaiming-normal", "torch"])
def test_named_starts_are_those_of_torchs_own_layers(name: str, backend: backends.Backend) -> None:
    """In spread and in limits, layer by layer, biases too: the same draws on both backends."""
    settings = {"net": "conv", "channels": (32, 40), "hidden": (100,), "latent_dim": 50, "initial_weights": name}
    model, guide = recipes.vae((16, 16), backend=backend.name, **settings)(np.random.default_rng(0))
    starts = {"kaiming-normal": lambda layer: torch.nn.init.kaiming_normal_(layer.weight), "torch": lambda layer: None}
    torch.manual_seed(0)
    convolutions = (torch.nn.Conv2d(32, 40, 4), torch.nn.ConvTranspose2d(40, 32, 4))
    linear = [torch.nn.Linear(640, 100), torch.nn.Linear(100, 640)]
    encoder, decoder = guide.posterior.net, model.likelihood.net
    ours = (encoder.convolutions[1], decoder.convolutions[0], encoder.layers[0], decoder.layers[1])
    for layer, theirs in zip(ours, (*convolutions, *linear), strict=True):
        starts[name](theirs)
        weight, bias = (
            np.asarray(p.detach() if backend.name == "pyro" else p[...]) for p in (layer.weight, layer.bias)
        )
        assert weight.shape == theirs.weight.shape
        assert weight.std() == pytest.approx(theirs.weight.std().item(), rel=0.03)
        if name == "kaiming-normal":
            assert not bias.any() and np.abs(weight).max() > 3 * weight.std()
            continue
        limit = theirs.weight.abs().max().item()
        assert np.abs(weight).max() == pytest.approx(limit, rel=0.01)
        assert 0.8 * limit < np.abs(bias).max() <= limit * 1.01 and theirs.bias.abs().max() <= limit * 1.01


def test_a_start_is_kept_with_the_recipe() -> None:
    recipe = recipes.vae((4, 4), initial_weights="torch", hidden=(5,))
    assert (
        recipes.Recipe.from_dict(recipe.to_dict()) == recipe and "initial_weights" not in recipes.vae((4, 4)).to_dict()
    )
    with pytest.raises(ValueError, match="there are xavier, kaiming-normal, torch"):
        recipes.vae((4, 4), initial_weights="zeros")


def test_own_weights_are_asked_for_kernels_and_for_matrices(backend: backends.Backend) -> None:
    asked = []

    def ones(rng: np.random.Generator, out: int, inp: int, kernel: tuple[int, ...] = ()) -> np.ndarray:
        asked.append((out, inp, *kernel))
        return np.ones((out, inp, *kernel))

    rng = np.random.default_rng(0)
    backend.nets.ConvEncoder((4, 4), 3, rng, channels=(2,), hidden=(5,), weights=ones)
    backend.nets.ConvDecoder(3, (4, 4), rng, channels=(2,), hidden=(5,), weights=ones)
    assert asked == [(2, 1, 4, 4), (5, 8), (3, 5), (5, 3), (8, 5), (2, 1, 4, 4)]


# What goes wrong


def test_bad_sizes_are_refused(backend: backends.Backend) -> None:
    rng, n = np.random.default_rng(0), backend.nets
    with pytest.raises(ValueError, match=r"6 x 9 pixels can be halved 2 times, .* set channels=\(2, 2\), or fewer"):
        n.ConvEncoder((6, 9), 3, rng, channels=(2, 2, 2))
    with pytest.raises(ValueError, match=r"6 x 9 pixels can be halved 2 times"):
        n.ConvDecoder(3, (6, 9), rng, channels=(2, 2, 2))
    with pytest.raises(ValueError, match=r"should be \(H, W\) or \(H, W, C\), of positive integers; got \(64,\)"):
        n.ConvEncoder((64,), 3, rng)
    for channels in ((), (4, 0)):
        with pytest.raises(ValueError, match="'channels' should hold a positive integer for each convolution"):
            n.ConvEncoder((8, 8), 3, rng, channels=channels)
    with pytest.raises(ValueError, match="'sizes' should hold"):
        n.ConvEncoder((8, 8), 3, rng, channels=(2,), hidden=(0,))


def test_inputs_of_another_length_are_refused(backend: backends.Backend) -> None:
    rng, n, zeros = np.random.default_rng(0), backend.nets, torch.zeros if backend.name == "pyro" else jnp.zeros
    encoder = n.ConvEncoder((8, 6), 3, rng, channels=(2,))
    with pytest.raises(ValueError, match=r"ConvEncoder: .* pixels of 8 x 6 x 1 flat images, 48 in all; got 8\."):
        encoder(zeros((5, 6, 8)))
    with pytest.raises(ValueError, match=r"flat images and 2 numbers beside them, 50 in all; got 48\."):
        n.ConvEncoder((8, 6), 3, rng, channels=(2,), given_dim=2)(zeros((5, 48)))
    with pytest.raises(ValueError, match=r"ConvDecoder: the last axis should hold 3 numbers, 3 in all; got 4\."):
        n.ConvDecoder(3, (8, 6), rng, channels=(2,))(zeros((5, 4)))


# Recipes


CONV: dict[str, Any] = {"net": "conv", "image_shape": (4, 3), "channels": (4,), "hidden": (6,), "latent_dim": 3}

VARIANTS: dict[str, dict[str, Any]] = {
    "vampprior": {"prior": "vampprior", "full_covariance": True, "likelihood": "discretised-logistic", "levels": 5},
    "means": {"prior": "vampprior", "pseudo_inputs_start": "means", "likelihood": "normal-diagonal"},
    "data": {"prior": "vampprior-data", "guide": "semi-amortised", "refinement_steps": 2},
    "mixture": {"prior": "mixture", "likelihood": "categorical", "levels": 3, "image_shape": (2, 2, 3)},
    "categorical": {"latents": "categorical", "num_categories": 4},
    "per-datapoint": {"guide": "per-datapoint", "likelihood": "normal"},
    "conditional": {"given_dim": 2, "conditional_prior": True},
}


@pytest.mark.release(keep=["data", "categorical", "conditional"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_of_the_recipe_trains_saves_and_generates_on_both(name: str, tmp_path: Any) -> None:
    """From the same weights; a step moves every convolution; what is loaded is what was saved."""
    found = []
    for b in map(backends.load, backends.NAMES):
        x, settings = toy(8), {**CONV, "num_pseudo_inputs": 4, **VARIANTS[name]}
        recipe = recipes.vae(x, backend=b.name, **settings)
        own = b.inference.Pair(*recipe(np.random.default_rng(0)))
        given = drawn(8, 2) if settings.get("given_dim") else None
        loss = b.inference.TraceGraphELBO(num_particles=2) if settings.get("latents") else b.inference.TraceELBO()
        svi = b.inference.SVI(loss, epochs=1, batch_size=4, learning_rate=1e-2)
        trained = svi.fit(*recipe(np.random.default_rng(0)), x, seed=0, given=given)
        state = trained.pair.state()
        assert all(np.abs(v - own.state()[n]).max() > 0 for n, v in state.items() if "convolutions" in n)
        path = tmp_path / f"{b.name}.safetensors"
        trained.save(path, recipe=recipe)
        again = Fit.load(path)
        assert {n: v.tolist() for n, v in again.pair.state().items()} == {n: v.tolist() for n, v in state.items()}
        assert again.generate(3, given=None if given is None else given[:3]).shape == (3, 12)
        found.append({n: v for n, v in common_names(own.state()).items() if "prior.loc" not in n or name == "mixture"})
    shared = set(found[0]) & set(found[1])
    assert any("convolutions" in n for n in shared)
    for n in shared:
        np.testing.assert_array_equal(found[0][n], found[1][n])


def test_numbers_of_a_pixel_stand_where_the_likelihood_looks_for_them(backend: backends.Backend) -> None:
    """A decoder that ignores z and whose last bias is all there is: one number for each channel and part."""
    array: Any = torch.tensor if backend.name == "pyro" else jnp.asarray
    for likelihood, levels, expected in (("normal-diagonal", 2, 2), ("categorical", 3, 6)):
        settings = {**CONV, "image_shape": (3, 2, 2), "likelihood": likelihood, "levels": levels}
        model, _ = recipes.vae(toy(8), backend=backend.name, **settings)(np.random.default_rng(0))
        last = model.likelihood.net.convolutions[-1]
        many = len(last.bias) if backend.name == "pyro" else len(last.bias[...])
        bias = np.arange(many, dtype=np.float32)
        if backend.name == "pyro":
            last.weight.data.zero_()
            last.bias.data = torch.tensor(bias)
        else:
            last.weight[...], last.bias[...] = jnp.zeros_like(last.weight[...]), jnp.asarray(bias)
        distribution = model.likelihood(array(np.zeros((1, 3), np.float32)))
        if likelihood == "categorical":
            logits = np.asarray(model.likelihood.net(array(np.zeros((1, 3), np.float32))).tolist())
            assert many == expected and distribution.event_shape == (12,)
            np.testing.assert_array_equal(logits.reshape(6, 2, 3), np.tile(bias.reshape(2, 3), (6, 1, 1)))
        else:
            assert many == 2 * expected
            np.testing.assert_allclose(np.asarray(distribution.mean.tolist()), np.tile([0.0, 1.0], 6)[None])


def test_what_a_recipe_refuses() -> None:
    for data in (toy(8), (12,)):
        with pytest.raises(ValueError, match=r"need images with a height and a width: .* say image_shape=\(H, W\)"):
            recipes.vae(data, net="conv", channels=(4,))
    with pytest.raises(ValueError, match=r"'image_shape' should hold the 12 pixels of one image, .* got \(4, 4\)"):
        recipes.vae(toy(8), net="conv", image_shape=(4, 4))
    with pytest.raises(ValueError, match="4 x 3 pixels can be halved 1 times"):
        recipes.vae(toy(8), net="conv", image_shape=(4, 3))
    with pytest.raises(ValueError, match="Gated layers are those of perceptrons"):
        recipes.vae(toy(8), **CONV, gated=True)
    with pytest.raises(ValueError, match="Unknown net 'cnn'; there are mlp, conv"):
        recipes.vae(toy(8), net="cnn")


def test_a_recipe_prints_and_reads_its_settings() -> None:
    recipe = recipes.conv_vae((32, 32, 3), channels=(8, 16))
    assert recipes.Recipe.from_dict(recipe.to_dict()) == recipe
    old = {name: value for name, value in recipes.vae((4, 3)).to_dict().items() if name not in ("net", "channels")}
    assert recipes.Recipe.from_dict(old).net == "mlp"


def test_from_the_command_line(tmp_path: Any) -> None:
    np.save(tmp_path / "images.npy", toy(40).reshape(40, 4, 3))
    options = ("--net", "conv", "--channels", 4, "--prior", "vampprior", "--num-pseudo-inputs", 4)
    fit(tmp_path / "images.npy", tmp_path / "run", *options)
    loaded = Fit.load(tmp_path / "run" / FIT)
    assert any("convolutions" in name for name in loaded.pair.state())
    assert command("evaluate", tmp_path / "run", "--num-particles", 2, "--quiet") == 0
