"""Programs make every tensor where their data are, and ask for no value: what a GPU needs, seen without one.

Tensors of torch's ``meta`` device have shapes and no values. An operation that meets one from another device refuses,
as it does with a GPU's, and so does one that needs a value, as ``item`` does: there it would wait for the GPU, and a
CUDA graph could not be captured.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pairs import EXACT, PAIRS, recipe, toy
from torch.fx.experimental.proxy_tensor import make_fx

from ppl_vae import baselines, inference, objectives, strategies
from ppl_vae.inference.svi.players import RunningPlayer, detached, view_of
from ppl_vae.inference.svi.products import products
from ppl_vae.inference.svi.recorded_step import place_constants
from ppl_vae.inference.traces import quiet
from ppl_vae.objectives.base import Objective
from ppl_vae.pairs.side_inputs import NOTHING
from ppl_vae.players import Sizes, State
from ppl_vae.recipes.recipe import TABLES
from ppl_vae.seeds import generator

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from gpu_tables import COMPONENTS, OBJECTIVE_OF, OTHERS

META = torch.device("meta")
PAIR_OF = {
    **dict.fromkeys(("reinforce", "running-average", "nvil", "rloo", "vimco", "wake-wake", "wake-sleep"), "bernoulli"),
    **dict.fromkeys(("per-datapoint", "semi-amortised", "diffusion"), "standard"),
    "enumeration": "categorical",
    **dict.fromkeys(("ali", "avb", "fivo", "gan", "nasmc", "vae-gan"), "standard"),
    **dict.fromkeys(("gumbel-softmax", "straight-through", "gumbel-rao", "rebar", "relax", "muprop"), "categorical"),
    **dict.fromkeys(("arm", "disarm", "rodeo"), "bernoulli"),
    **dict.fromkeys(("vq", "vq-ema", "fsq", "lfq"), "vq"),
}
"""Strategy -> its pair; the others' is ``vampprior``."""
MARKOV = {"prior": "markov", "posterior": "filtering", "net": "recurrent", "recurrent_units": 4, "image_shape": (4, 3)}

SETTINGS_OF = {"fivo": MARKOV, "nasmc": MARKOV, "ali": {"likelihood": "normal"}}
"""Strategy -> settings of that pair, which it does not bring itself."""


def gradients(name: str, loss: Any, given: Mapping[str, np.ndarray] = NOTHING, **settings: Any) -> None:
    """The loss of a batch at its neighbours' device, with every gradient; and the losses of its players."""
    programs = recipe(name, "pyro", **settings)(generator(0, "weights"))
    modules = torch.nn.ModuleList(programs).to(META)
    model, guide = (quiet(program) for program in modules)
    x = torch.as_tensor(toy(6)).to(META)
    index = torch.arange(6, device=META)
    side = {"index": index, **{n: torch.as_tensor(a, dtype=x.dtype).to(META) for n, a in given.items()}}
    players = inference.Adversarial(loss).players if loss.needs_critic else loss.players
    loss = inference.adopt(loss) if loss.backend is None else loss
    loss = loss.of_data(60) if isinstance(loss, Objective) else loss
    loss = loss.at(torch.zeros((), dtype=torch.float64, device=META))
    rng = generator(0, "players")
    with pyro.validation_enabled(False):
        if players:
            sizes = Sizes(x.shape[1], 3, 12, (1, 5, 2), rows=60)
            running = [RunningPlayer(player, sizes, rng, META) for player in players]
            terms = loss.log_terms(model, guide, x, **side)
            view = view_of(x, terms, index, noisy=any(player.noisy for player in players))
            value = -loss.bound(terms, *(player.output(view) for player in running)).sum()
            latents = terms.latents
            others = None if latents is None else latents.z if latents.prior is None else latents.prior
            for each in running:
                learns, _ = each.player.loss(State(each.tracked, each.learned.values), detached(view, others))
                assert learns.device == META
        else:
            value = loss.differentiable_loss(model, guide, x, **side)
    found = torch.autograd.grad(value, [p for p in modules.parameters() if p.requires_grad], allow_unused=True)
    assert value.device == META and any(grad is not None for grad in found)
    assert all(grad.device == META for grad in found if grad is not None)


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_computes_where_its_data_are(name: str) -> None:
    gradients(name, getattr(inference, EXACT[name])() if name in EXACT else inference.IWAE(3))
    if EXACT.get(name) != "VQELBO":
        gradients(name, inference.TraceGraphELBO(2, baseline=baselines.LeaveOneOut()))


@pytest.mark.parametrize("name", strategies.STRATEGIES)
def test_every_strategy_computes_where_its_data_are(name: str) -> None:
    strategy, number = strategies.find(name)
    settings = SETTINGS_OF.get(name, strategies.recipe_settings(name))
    gradients(PAIR_OF.get(name, "vampprior"), strategy.loss(number), **settings)


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_objective_computes_where_its_data_are(name: str) -> None:
    settings, loss, given = OTHERS[name]
    gradients("standard", loss, given, **settings)


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_computes_where_its_data_are(name: str) -> None:
    gradients("standard", OBJECTIVE_OF.get(name, inference.IWAE(2)), **COMPONENTS[name])


@pytest.mark.parametrize("name", ["standard", "vampprior", "conv", "full", "bernoulli"])
def test_products_in_bfloat16_are_where_the_data_are(name: str) -> None:
    """Their results, and the gradients of all weights, are in float32."""
    with products("bfloat16"):
        gradients(name, inference.TraceEnumELBO() if name in EXACT else inference.TraceELBO(2))


@pytest.mark.parametrize("name", [*PAIRS, *COMPONENTS])
def test_every_model_generates_where_its_weights_are(name: str) -> None:
    """Without data, whose device its draws could take."""
    made = recipe(name, "pyro") if name in PAIRS else recipe("standard", "pyro", **COMPONENTS[name])
    model = quiet(torch.nn.ModuleList(made(generator(0, "weights"))).to(META)[0])
    with torch.no_grad(), pyro.validation_enabled(False):
        trace = pyro.poutine.trace(model).get_trace(size=4)
    drawn = [site["value"] for site in trace.nodes.values() if site["type"] == "sample" and site["name"] != "data"]
    assert drawn and all(value.device == META for value in drawn)


def test_nothing_is_left_out() -> None:
    """Each objective of the package, and each component of its recipes, is in a table of this file."""
    losses = [strategies.find(name) for name in strategies.STRATEGIES]
    assert {type(s.loss(number)).__name__ for s, number in losses} | set(OTHERS) >= set(objectives.concrete())
    brought = [strategies.recipe_settings(name) for name in strategies.STRATEGIES]
    tried = [
        *PAIRS.values(),
        *brought,
        *SETTINGS_OF.values(),
        *COMPONENTS.values(),
        *(row[0] for row in OTHERS.values()),
    ]
    for slot, table in TABLES.items():
        usual = next(iter(table))
        assert {settings.get(slot, usual) for settings in tried} >= set(table), slot


def test_a_tensor_elsewhere_or_a_value_is_seen() -> None:
    """The device does what this file says of it."""
    x = torch.ones(3, device=META)
    with pytest.raises(RuntimeError, match="device"):
        x + torch.ones(3)
    with pytest.raises(RuntimeError, match="meta"):
        x.sum().item()


@pytest.mark.parametrize(
    ("name", "loss"), [("full", inference.TraceELBO()), ("categorical", inference.TraceEnumELBO())], ids=str
)
def test_a_recorded_step_copies_nothing_from_the_cpu(name: str, loss: Any) -> None:
    """Indices of NumPy and enumerated values are there from the first: a CUDA graph cannot hold a copy of them."""
    modules = torch.nn.ModuleList(recipe(name, "pyro")(generator(0, "weights"))).to(META)
    model, guide = (quiet(program) for program in modules)
    x = torch.as_tensor(toy(6)).to(META)

    def step(x: torch.Tensor) -> torch.Tensor:
        return loss.differentiable_loss(model, guide, x, index=torch.arange(6, device=META))

    with pyro.validation_enabled(False):
        graph = make_fx(step)(x)
    assert crossings(graph)
    place_constants(graph)
    assert not crossings(graph) and graph(x).device == META


def crossings(graph: Any) -> list[Any]:
    """The operations that take a tensor from the CPU to the device of the data."""
    return [
        node
        for node in graph.graph.nodes
        if node.target is torch.ops.aten._to_copy.default
        and node.kwargs.get("device") == META
        and node.args[0].target is torch.ops.aten.lift_fresh_copy.default
    ]


def test_a_program_writes_to_a_copy_of_a_placed_constant() -> None:
    """The constant itself is that of the next run."""
    start = np.array([1.0, 2.0, 3.0], np.float32)

    def step(x: torch.Tensor) -> torch.Tensor:
        made = torch.as_tensor(start).to(META)
        made += 1
        return made + x

    graph = make_fx(step)(torch.ones(3, device=META))
    place_constants(graph)
    clones = [node for node in graph.graph.nodes if node.target is torch.ops.aten.clone.default]
    assert len(clones) == 1 and {user.target for user in clones[0].users} == {torch.ops.aten.add_.Tensor}
