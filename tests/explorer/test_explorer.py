"""The explorer computes what the fit computes: in NumPy, and in a browser where there is one."""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flax import nnx
from pairs import untrained
from torch import nn

from ppl_vae import backends, conditionals, guides, models, nets, recipes, seeds
from ppl_vae.explorer import explorer, to_html
from ppl_vae.explorer.page import steps_of
from ppl_vae.explorer.steps import run
from ppl_vae.numpyro.nets.layers import written_net
from ppl_vae.results import Fit

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
DECODERS: dict[str, dict[str, Any]] = {
    "perceptron": {"hidden": (7, 6), "activation": "tanh"},
    "elu": {"hidden": (7,), "activation": "elu", "likelihood": "normal"},
    "softplus": {"hidden": (7,), "activation": "softplus"},
    "gated": {"hidden": (7,), "gated": True},
    "convolutions": {"net": "conv", "channels": (3, 4), "hidden": (6,)},
    "convolutions, scales": {"net": "conv", "channels": (3,), "hidden": (6,), "likelihood": "normal-diagonal"},
}


def images(number: int, shape: tuple[int, ...] = (9, 7)) -> np.ndarray:
    return (seeds.generator(1, "images").random((number, *shape)) < 0.4).astype(np.float32).reshape(number, -1)


def made(backend: str = "pyro", shape: tuple[int, ...] = (9, 7), **settings: Any) -> Fit:
    chosen = {"latent_dim": 3, **settings}
    pair = recipes.vae(shape, backend=backend, **chosen)(seeds.generator(0, "weights"))
    return untrained(*pair, backends.load(backend), images(6, shape))


@pytest.mark.parametrize("backend", backends.NAMES)
@pytest.mark.parametrize("name", DECODERS)
def test_the_steps_are_the_decoder(name: str, backend: str) -> None:
    fit, z = made(backend, **DECODERS[name]), seeds.generator(2, "codes").normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(run(steps_of(fit), z), fit.decode(z), atol=1e-5)


IMAGE = (2, 5, 4)
"""Channels, height and width."""
PLAIN: dict[str, Any] = {
    "silu": lambda: nn.Sequential(nn.Linear(3, 6), nn.SiLU(), nn.Linear(6, 40)),
    "activations": lambda: nn.Sequential(
        *(
            layer
            for kind in (nn.ELU, nn.ReLU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Tanh)
            for layer in (nn.Linear(3, 3), kind())
        ),
        nn.Sequential(nn.Dropout(), nn.Identity(), nn.Linear(3, 40, bias=False)),
    ),
    "convolutions": lambda: nets.Flattened(
        nn.Sequential(
            *(nn.Linear(3, 24), nn.ReLU(), nn.Unflatten(1, (4, 3, 2))),
            *(nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=(0, 1)), nn.Tanh()),
            *(nn.Conv2d(3, 2, 3, padding=1), nn.Flatten()),
        )
    ),
    "of ours within": lambda: nn.Sequential(nets.MLP((3, 4, 5), np.random.default_rng(0)), nn.ReLU(), nn.Linear(5, 40)),
}


def plain(net: Any) -> Fit:
    model = models.VAE(models.StandardNormal(3), conditionals.Bernoulli(net))
    guide = guides.Amortised(conditionals.DiagNormal(nets.MLP((40, 5, 6), np.random.default_rng(0))))
    return untrained(model, guide, backends.load("pyro"), images(6, IMAGE))


@pytest.mark.parametrize("name", PLAIN)
def test_plain_modules_of_torch_are_written_down(name: str) -> None:
    torch.manual_seed(0)
    fit, z = plain(PLAIN[name]()), seeds.generator(2, "codes").normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(run(steps_of(fit), z), fit.decode(z), atol=1e-5)


def test_layers_of_nnx_are_written_down() -> None:
    b, rngs = backends.load("numpyro"), nnx.Rngs(0)
    net = nnx.Sequential(
        nnx.Linear(3, 4, rngs=rngs), nnx.silu, nnx.Linear(4, 4, rngs=rngs), nnx.tanh, nnx.Linear(4, 40, rngs=rngs)
    )
    model = b.models.VAE(b.models.StandardNormal(3), b.conditionals.Bernoulli(net))
    guide = b.guides.Amortised(b.conditionals.DiagNormal(b.nets.MLP((40, 5, 6), np.random.default_rng(0))))
    fit, z = (
        untrained(model, guide, b, images(6, IMAGE)),
        seeds.generator(2, "codes").normal(size=(5, 3)).astype(np.float32),
    )
    np.testing.assert_allclose(run(steps_of(fit), z), fit.decode(z), atol=1e-5)


CONVOLUTIONS: dict[str, tuple[Any, ...]] = {
    "SAME": (nnx.ConvTranspose, {"strides": 2}),
    "VALID": (nnx.ConvTranspose, {"strides": (3, 3), "padding": "VALID", "use_bias": False}),
    "padded": (nnx.ConvTranspose, {"strides": 2, "padding": ((1, 2), (1, 0))}),
    "of stride 1": (nnx.Conv, {"padding": 1}),
    "valid, of stride 1": (nnx.Conv, {"padding": "VALID"}),
}


def convolutions(kind: Any = nnx.ConvTranspose, before: Any = None, **settings: Any) -> nnx.Sequential:
    rngs = nnx.Rngs(0)
    rows = before or (lambda h: h.reshape(-1, 4, 3, 2))
    layer = kind(2, 3, (3, 3), rngs=rngs, **settings)
    return nnx.Sequential(
        nnx.Linear(3, 24, rngs=rngs), nnx.relu, rows, layer, nnx.tanh, lambda h: h.reshape(len(h), -1)
    )


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_nnx_are_written_down(name: str) -> None:
    kind, settings = CONVOLUTIONS[name]
    net, z = convolutions(kind, **settings), seeds.generator(2, "codes").normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(run(written_net(net), z), np.asarray(net(z)), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": nnx.Conv, "strides": 2}, "with a stride"),
        ({"kernel_dilation": 2}, "dilated"),
        ({"padding": ((0, 0), (1, 1))}, "other padding on one side"),
        ({"kind": nnx.Conv, "padding": "CIRCULAR"}, "the padding CIRCULAR"),
        ({"before": lambda h: 2 * h.reshape(-1, 4, 3, 2)}, "does more than to change the shape"),
        ({"before": lambda h: h.reshape(-1, 2, 4, 3).transpose(0, 2, 3, 1)}, "does more than to change the shape"),
        ({"before": lambda h: h.reshape(-1, 24)}, "ConvTranspose cannot be written down"),
    ],
)
def test_what_the_steps_do_not_have_of_nnx_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(AttributeError, match=says):
        written_net(convolutions(**settings))


ELSE: dict[str, Any] = {
    "a stride": lambda: (nn.Unflatten(1, (1, 10, 8)), nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.Flatten()),
    "groups": lambda: (nn.Unflatten(1, (2, 5, 8)), nn.Conv2d(2, 2, 1, groups=2), nn.Flatten(), nn.Linear(80, 40)),
    "an alpha": lambda: (nn.ELU(2.0), nn.Linear(80, 40)),
    "a norm": lambda: (nn.BatchNorm1d(80), nn.Linear(80, 40)),
}


@pytest.mark.parametrize("name", ELSE)
def test_what_the_steps_do_not_have_is_refused(name: str) -> None:
    fit = plain(nets.Flattened(nn.Sequential(nn.Linear(3, 80), *ELSE[name]())))
    with pytest.raises(ValueError, match="The decoder of this model cannot be written into a page"):
        steps_of(fit)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return explorer(
        made(**DECODERS["convolutions"]),
        images(12),
        folder / "page.html",
        image_shape=(9, 7),
        labels=["</script>", *"abcdefghijk"],
        title="A <page> of {{data}}",
    )


def content(text: str) -> dict[str, Any]:
    return json.loads(text.partition('type="application/json">')[2].partition("</script>")[0])


def test_the_page_holds_all_that_it_needs(page: Path) -> None:
    """Nothing is asked of a network; what a user wrote is text, not code."""
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"https?://|\b(?:src|href)=|\bfetch\(|import\(", text)
    held = content(text)
    assert held["labels"][0] == "</script>"
    assert "<title>A &lt;page&gt; of {{data}}</title>" in text
    assert sorted(held["order"]) == [0, 1, 2]
    assert [held["kl"][d] for d in held["order"]] == sorted(held["kl"], reverse=True)


PROBE = """<script>
{
  const before = element("decoded").toDataURL(), slider = element(`z${data.order[0]}`);
  slider.value = +slider.value > 0 ? -3.5 : 3.5;
  slider.dispatchEvent(new Event("input"));
  const moves = before !== element("decoded").toDataURL(), moved = z[data.order[0]];
  document.querySelectorAll("#images .thumb")[4].click();
  const decoded = [...Array(N).keys()].map(n => Array.from(decode(code(n))));
  const near = +element("near").children[0].dataset.n, images = document.querySelectorAll("#images .thumb").length;
  const told = document.createElement("pre");
  told.id = "found";
  told.textContent = JSON.stringify({moves, moved, decoded, near, images, code: Array.from(z)});
  document.body.append(told);
}
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium: its package of the system")
@pytest.mark.parametrize("name", ["gated", "convolutions, scales", "silu"])
def test_a_browser_shows_what_the_fit_decodes(name: str, tmp_path: Path) -> None:
    shape = (9, 7) if name in DECODERS else (5, 8)
    fit, x = made("numpyro", **DECODERS[name]) if name in DECODERS else plain(PLAIN[name]()), images(8, shape)
    path = explorer(fit, x, tmp_path / "page.html", image_shape=shape)
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", PROBE + "</body>"), encoding="utf-8")
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run(
        [str(BROWSER), *words, path.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', done.stdout)[1])  # type: ignore[index]
    codes = fit.encode(x)
    np.testing.assert_allclose(found["decoded"], fit.decode(codes), atol=1e-4)
    np.testing.assert_allclose(found["code"], codes[4], rtol=1e-6)
    assert found["moves"] and abs(found["moved"]) == 3.5
    gap = np.square(codes - codes[4]).sum(1)
    assert found["near"] == np.argsort(gap)[1] and found["images"] == 8


def test_images_of_another_range_and_a_vector_are_shown() -> None:
    x = np.linspace(-3, 5, 24).reshape(4, 6).astype(np.float32)
    held = content(to_html(made(shape=(6,), hidden=(5,), likelihood="normal"), x))
    assert held["shape"] == [1, 6, 1] and held["low"] == x.min(0).tolist() and held["high"] == x.max(0).tolist()
    assert np.array_equal(np.frombuffer(base64.b64decode(held["values"]), "<f4").reshape(4, 6), x)
    held = content(to_html(made(shape=(2, 3), hidden=(5,), likelihood="normal"), x, image_shape=(2, 3)))
    assert held["low"] == [-3.0] and held["high"] == [5.0] and held["values"] is None and held["reach"] == 4


def test_sliders_reach_all_codes() -> None:
    fit, x = made(hidden=(5,)), images(6)
    codes = fit.encode(x)
    last = fit.guide.posterior.net.layers[-1]
    with torch.no_grad():
        last.weight *= 30 / np.abs(codes).max()
    assert content(to_html(fit, x, image_shape=(9, 7)))["reach"] == math.ceil(np.abs(fit.encode(x)).max()) > 4


def test_what_does_not_fit_is_refused() -> None:
    x, fit = images(5), made(hidden=(5,))
    with pytest.raises(ValueError, match=r"should be \(H, W\) or \(H, W, C\) of 63 numbers .* got \(8, 8\)"):
        to_html(fit, x, image_shape=(8, 8))
    with pytest.raises(ValueError, match="a label for each of the 5 images; got 2"):
        to_html(fit, x, labels=[0, 1])
    with pytest.raises(ValueError, match="a slider for each number of one latent site; this model has 'z', of categ"):
        to_html(made(hidden=(5,), latents="categorical", num_categories=3), x)
    with pytest.raises(ValueError, match="this model has 'z', of codes"):
        to_html(made(hidden=(5,), latents="vq", codebook_start="normal"), x)
