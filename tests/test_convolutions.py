"""Convolutional nets: two ways to compute them and torch's agree; the decoder transposes the encoder; any sizes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from ppl_vae import backends, init, nets
from ppl_vae.numpyro import nets as numpyro_nets
from ppl_vae.numpyro.convolutions import METHODS, convolve, convolve_transposed, find_method

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
            ours = jax.grad(function, (0, 1))(x, weight, method)
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


def numpyro_encoder(shape: tuple[int, ...], out: int = 6, seed: int = 0, **settings: Any) -> Any:
    return numpyro_nets.ConvEncoder(shape, out, np.random.default_rng(seed), **settings)


SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((8, 8), (4, 5)), ((7, 5, 3), (4, 5)), ((4, 3), (4,))]
"""Of an image, and the channels."""


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
        values = net(array(h))
        assert values.shape == (*lead, out)
        if lead and 0 not in lead:
            flat = net(array(h.reshape(-1, inp)))
            one = net(array(h[(0,) * len(lead)]))
            close(values.reshape(-1, out).tolist(), flat.tolist(), 1e-4)
            close(values[(0,) * len(lead)].tolist(), one.tolist(), 1e-4)


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
    with pytest.raises(ValueError, match=r"6 x 9 pixels can be halved 2 times, and 3 convolutions .* at most 2"):
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
