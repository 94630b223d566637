"""What a refusal of products in bfloat16 advises, followed: the training runs in full precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pairs import P, pair, refused, toy

from ppl_vae.backends import Backend
from ppl_vae.errors import RoundedLoss
from ppl_vae.inference.svi.products import check_device
from ppl_vae.results import Fit
from ppl_vae.training import rounding

X = toy(60)


def narrow(backend: Backend, scale: float) -> tuple[Any, Any]:
    """A likelihood of that scale, with the weights of a pair."""
    _, guide = pair("standard", backend)
    net = backend.nets.MLP((3, 8, P), np.random.default_rng(0))
    likelihood = backend.conditionals.Normal(net, scale=scale, learned=False)
    return backend.models.VAE(backend.models.StandardNormal(3), likelihood), guide


def fitted(backend: Backend, precision: str, scale: float = 0.002) -> Fit:
    svi = backend.inference.SVI(epochs=1, batch_size=20, precision=precision)
    return svi.fit(*narrow(backend, scale), X)


def test_a_loss_that_is_far_off_from_the_start(backend: Backend) -> None:
    refused("need more digits: train with precision='full'", lambda: fitted(backend, "bfloat16"))
    fitted(backend, "full")
    assert abs(fitted(backend, "bfloat16", scale=1.0).history["rounding"][0]) <= rounding.LARGEST


def test_a_loss_that_comes_to_be(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "check_before", lambda error: None)
    refused("history['rounding'] has every epoch's: train with precision='full'", lambda: fitted(backend, "bfloat16"))
    fitted(backend, "full")
    with pytest.warns(RoundedLoss, match="train with precision='full'"):
        assert abs(fitted(backend, "bfloat16").history["rounding"][0]) > rounding.LARGEST


def test_a_gpu_without_such_products(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    refused("and this {} has {}.{}: train with precision='full'", lambda: check_device("bfloat16", gpu))
    check_device("full", gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    check_device("bfloat16", gpu)
