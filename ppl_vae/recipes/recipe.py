"""A recipe: the settings of a pair, which draw its weights from a seed on either backend."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .. import backends
from ..arrays.plain import as_python
from ..data.streams import Data
from ..runtime.shown import Shown, datum
from . import (
    autoregressive,
    builders,
    codes,
    diffusion,
    flows,
    hierarchies,
    implicit,
    labels,
    likelihoods,
    mixtures,
    nets,
    sequences,
)
from .components import COMMON, SLOTS, TABLES, Setting, check_saved, find, resolve
from .components import settings as component_settings

PRIORS = tuple(TABLES["prior"])
"""Names of the package's priors."""
LIKELIHOODS = tuple(TABLES["likelihood"])
"""Names of the package's likelihoods."""
LATENTS = tuple(TABLES["latents"])
"""Names of the package's kinds of latents."""
NETS = tuple(TABLES["net"])
"""Names of the package's nets."""
GUIDES = tuple(TABLES["guide"])
"""Names of the package's guides."""

WIDTHS = (Setting("given_dim", 0, "G", least=0), Setting("latent_dim", 40, "D", least=1))
"""Whole numbers of every recipe."""

LATER: dict[str, Any] = {name: SLOTS[name].default for name in ("posterior", "program")}
LATER |= {
    setting.name: list(setting.default) if setting.is_tuple else setting.default
    for setting in (
        nets.INITIAL,
        *codes.CODES,
        builders.UNITS,
        *builders.TEMPERATURES,
        *flows.SETTINGS,
        *mixtures.SETTINGS,
        *implicit.SETTINGS,
        builders.CONCENTRATION,
        likelihoods.STANDARDISE,
        likelihoods.COLUMNS,
        likelihoods.SYMBOLS,
        *diffusion.SETTINGS,
        labels.AUXILIARY,
        *hierarchies.SETTINGS,
        *autoregressive.SETTINGS,
        *sequences.SETTINGS,
        *builders.HAMILTONIAN,
    )
}
"""What earlier versions did not know, with its default: it is saved where it is another."""


@dataclass(frozen=True, init=False, repr=False)
class Recipe(Shown):
    """A VAE whose parts are components, chosen by name; each brings its own settings (``recipes.components``).

    With Gaussian latents it is the model of the VampPrior report, and of Tomczak and Welling with gated nets. Settings
    of components are given, and read, beside the others: ``Recipe(shape, prior="mixture", num_pseudo_inputs=10)``.

    Settings of the package's components: ``levels`` of the likelihoods of pixels k / (levels - 1), and ``symbols``
    where those of a sequence have no order; ``standardise`` of the normal ones, whose columns are then in units of
    their own; ``columns``, their kinds, of the likelihood of that name; ``num_categories`` of each categorical latent;
    ``concentration`` of stick-breaking ones; ``posterior_temperature`` and ``prior_temperature`` of ``concrete`` ones;
    ``num_codes``, ``code_dim`` and ``codebook_start`` of ``vq`` and ``residual-vq``, and ``num_stages`` of the latter;
    ``code_levels`` of ``fsq``; ``num_bits`` of ``lfq``; ``hidden``, the units of
    the encoder's hidden layers, and ``channels`` of its convolutions, each of which halves the image (the decoder has
    both in reverse); ``activation`` of the hidden layers, or ``gated`` ones instead; ``initial_weights``, ``xavier``,
    ``kaiming-normal`` or as ``torch`` starts its layers (``init.STARTS``); ``full_covariance`` of a Gaussian guide
    instead of a diagonal one; ``refinement_steps`` of a semi-amortised guide; ``num_pseudo_inputs``, C, the components
    of the priors that are mixtures, and ``pseudo_inputs_start``: ``random`` training images, the data ``mean`` plus
    noise, or the report's ``means`` net; ``prior_hidden``, the units of an autoregressive prior. Of flows:
    ``flow_steps``, ``flow_hidden``, the units of a step's net, and ``flow_context``, the numbers of the encoder that
    steps read; ``spline_bins`` and ``spline_bound`` of splines; ``flow_reflections`` of Sylvester steps;
    ``prior_flow``, the prior's steps: ``coupling``, ``spline`` or ``maf``. Of a posterior that is a mixture:
    ``components``, A; ``mixture_hidden``, the numbers of the encoder that every component reads; ``learned_weights``
    of the components in place of equal ones. Of an implicit posterior: ``implicit_noise``, R, ``implicit_hidden`` and
    ``implicit_context``, and ``implicit_extra``, M, of a semi-implicit one. Of ``diffusion``: ``noise_levels``, T;
    ``prediction``; ``most_noise``; ``schedule_pieces``. ``auxiliary_dim`` of the program ``semi-supervised``. Of a
    Hamiltonian guide: ``hamiltonian_steps``, ``hamiltonian_step_size`` and ``hamiltonian_beta``.
    Of hierarchies: ``latent_levels``, L, and ``skip_connections``, whether the likelihood reads every level.
    Of sequences: ``transition``, ``gated``, ``mlp`` or ``linear``, its ``transition_hidden``, and ``recurrent_units``;
    ``twist``, whether the guide has one for particle filters; ``hidden_states`` of a hidden Markov model.
    Of ``draw``: ``draw_steps``, T, which share the latents, ``draw_units``, and ``draw_window`` of attention.
    Of pixels one after the other: ``pixel_channels``, ``pixel_layers``, ``pixel_kernel`` and ``pixel_context``, the
    decoder's numbers for each pixel, of a PixelCNN; ``pixel_hidden`` of ``made``.

    Args:
        shape: of one image.
        prior: ``standard`` N(0, I); ``mixture`` of Gaussians; ``vampprior``; ``vampprior-data``, whose pseudo-inputs
            are fixed random training images; ``aggregate``, the same at all of them; ``flow``, N(0, I) through
            invertible steps; ``markov``, of sequences, whose latents move from step to step; of categories and codes
            ``factorised`` or ``autoregressive``, learned probabilities of each, alone or given those before it; or one
            that is registered.
        likelihood: ``bernoulli``; ``normal`` with one learned scale; ``normal-diagonal``, whose decoder gives each
            pixel a scale; of counts ``poisson`` and ``negative-binomial``, and these with further zeros,
            ``zero-inflated-poisson`` and ``zero-inflated-negative-binomial``; of tables ``columns``; of pixels
            k / (``levels`` - 1), ``discretised-logistic`` or ``categorical``; each pixel given those before it,
            ``pixelcnn`` and ``made`` of 0 and 1, ``pixelcnn-categorical`` and ``made-categorical`` of
            k / (``levels`` - 1); or one that is registered.
        latents: ``gaussian``; ``bernoulli`` (a sigmoid belief net of one layer); ``categorical``; ``concrete``, relaxed
            categories, a model of its own (``evaluation.discrete_twin`` is the discrete one); ``vq``, each the
            nearest of the codes that all share (a VQ-VAE); ``residual-vq``, ``fsq`` and ``lfq``, codes of several
            codebooks, of a grid and of signs; ``stick-breaking``, shares of what is left of a stick; or one that is
            registered. The discrete ones have a uniform prior.
        posterior: ``standard``, that of the latents; a diagonal normal through steps of a flow, ``iaf``, ``planar``,
            ``radial``, ``coupling``, ``spline`` or ``sylvester``; a ``mixture`` of diagonal normals; ``implicit``,
            draws of a net that takes noise, without a density; of sequences ``smoothing`` or ``filtering``; or one that
            is registered.
        latent_dim: D; of a hierarchy that of each level, of a sequence that of each step.
        net: ``mlp``, perceptrons; ``conv``, convolutions before the encoder's hidden layers and transposed ones after
            the decoder's, of images with a height and a width (``nets.ConvEncoder``, ``ConvDecoder``); ``grid``, the
            same with the hidden layers at each cell that the convolutions leave, for discrete latents, of which each
            cell has some; ``recurrent``, of sequences (T, P), a gated recurrent unit over the steps and a perceptron at
            each; ``draw``, recurrent nets that draw an image in ``draw_steps``; or one that is registered.
        program: ``vae``, ``models.VAE`` or with side information ``ConditionalVAE``; ``semi-supervised``, whose label
            is a latent that is known of some data, with the guide of that name; ``diffusion``, a chain of images
            with ever less noise, whose guide is ``noising`` and which has no use for the prior, the posterior, the
            latents and D; ``hierarchy``, ``models.Hierarchy`` of several levels, whose prior and posterior are those
            of the top one; ``autoregressive``, the net of such a likelihood alone, p(x) without latents, whose guide
            is ``empty``; ``implicit``, x = g(z) of the net, without a density, with that guide; of sequences
            ``hidden-markov``, whose guide is ``empty``, too, and ``recurrent``, with the
            guide of that name; or one that is registered.
        given_dim: G, the width of the side information c that everything is conditional on; 0 for none. Then the prior
            is ``standard`` or ``mixture``, and the latents have values that stand beside c. Of ``semi-supervised`` the
            number of labels, whose one-hot row stands in the place of c; ``given`` is the label itself, (N, 1).
        conditional_prior: p(z | c) = N(loc(c), diag scale(c)^2) by a net of its own, instead of a prior without c.
        guide: ``amortised``; ``semi-amortised``, whose encoder's answer is refined by ``refinement_steps`` steps;
            ``hamiltonian``, whose draws go on by leapfrog steps; ``draw``, which looks on as that net draws;
            ``per-datapoint``, which has parameters for each training image and no encoder; ``semi-supervised``;
            ``noising``; ``recurrent``; ``empty``; of a hierarchy ``top-down``, q(z_l | x, z_{l+1}), or ``ladder``,
            which multiplies what x says by the model's own p(z_l | z_{l+1}).
        num_images: the number of images a per-datapoint guide is for, or that the prior ``aggregate`` holds;
            the number of ``images`` by default.
        backend: ``pyro`` or ``numpyro``.
        images: training images (N, P), which the pseudo-inputs start from, NaN as zeros: put NaN where nothing was
            seen. They are not saved with the recipe.
        settings: those of another recipe's components, which stand where ``own`` has none.
        own: settings of components.

    Raises:
        ValueError: an unknown name (the message lists what there is), a setting of a registered component that is not
            chosen, parts that do not fit each other, or images that convolutions cannot halve so often.
    """

    shape: tuple[int, ...]
    prior: str
    likelihood: str
    latents: str
    posterior: str
    net: str
    program: str
    guide: str
    latent_dim: int
    given_dim: int
    conditional_prior: bool
    num_images: int | None
    backend: str
    images: Data | None = field(repr=False, compare=False)
    settings: Mapping[str, Any] = field(hash=False)

    def __init__(
        self,
        shape: tuple[int, ...],
        prior: str = SLOTS["prior"].default,
        likelihood: str = SLOTS["likelihood"].default,
        *,
        latents: str = SLOTS["latents"].default,
        posterior: str = SLOTS["posterior"].default,
        net: str = SLOTS["net"].default,
        program: str = SLOTS["program"].default,
        guide: str = SLOTS["guide"].default,
        latent_dim: int = 40,
        given_dim: int = 0,
        conditional_prior: bool = False,
        num_images: int | None = None,
        backend: str = "pyro",
        images: Data | None = None,
        settings: Mapping[str, Any] | None = None,
        **own: Any,
    ) -> None:
        names = (prior, likelihood, latents, posterior, net, program, guide)
        chosen = {slot: find(slot, name) for slot, name in zip(SLOTS, names, strict=True)}
        values = resolve(chosen, own, settings or {})
        if backend not in backends.NAMES:
            raise ValueError(f"Unknown backend {backend!r}; there are {', '.join(backends.NAMES)}.")
        counted = chosen["prior"].every_image or (not chosen["guide"].has_encoder and num_images is None)
        if counted and images is not None:
            num_images = len(images)
        common = {
            "shape": tuple(shape),
            "latent_dim": latent_dim,
            "given_dim": given_dim,
            "conditional_prior": conditional_prior,
            "num_images": num_images,
            "backend": backend,
            "images": images,
            "settings": values,
        }
        common |= {width.name: width.check(common[width.name]) for width in WIDTHS}
        for name, value in {**common, **dict(zip(SLOTS, names, strict=True))}.items():
            object.__setattr__(self, name, as_python(value))
        self._check()

    def _check(self) -> None:
        """Let each component say what it does not fit."""
        for slot in ("net", "guide", "latents", "prior", "posterior", "likelihood", "program"):
            component = self.component(slot)
            reason = component.refuse(self) or likelihoods.refuse(self)
            if reason:
                raise ValueError(reason)
            kinds = getattr(component, "latents", None)
            if kinds is not None and self.latents not in kinds:
                raise ValueError(
                    f"The {slot} {component.name!r} is one of {' or '.join(kinds)} latents; got latents="
                    f"{self.latents!r}: leave {slot}='standard', or use latents={kinds[0]!r}."
                )
        program, guide = self.component("program"), self.component("guide")
        unfit = f"The guide {self.guide!r} does not draw the latents of the program {self.program!r}"
        if self.guide not in (program.guides or (self.guide,)):
            raise ValueError(f"{unfit}, which has several sites: use guide={program.guides[0]!r}.")
        if self.program not in (guide.programs or (self.program,)):
            raise ValueError(f"{unfit}, which has one site: use program={guide.programs[0]!r}.")
        fits = self.given_dim and self.prior == "standard" and self.latents == "gaussian"
        if self.conditional_prior and not fits:
            raise ValueError(
                "A conditional prior is a net of the side information in place of the standard Gaussian: give "
                "'given_dim', and leave prior='standard' and latents='gaussian'."
            )
        if self.component("prior").conditional and not self.given_dim:
            raise ValueError(f"The prior {self.prior!r} is one of z given c: give 'given_dim', or use another prior.")

    def __getattr__(self, name: str) -> Any:
        """A setting of a component."""
        settings = self.__dict__.get("settings", {})
        if name not in settings:
            raise AttributeError(f"A recipe has no {name!r}, and none of its components has such a setting.")
        return settings[name]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Put back what was pickled; earlier versions had the components' settings beside the others."""
        if "settings" in state:
            self.__dict__.update(state)
        else:
            self.__init__(**state)  # type: ignore[misc]

    @property
    def dim(self) -> int:
        """P, the number of pixels."""
        return math.prod(self.shape)

    @property
    def datum(self) -> str:
        """The name of one datum in what is printed: image, row or sequence."""
        of_steps = any(self.component(slot).of_steps for slot in ("net", "program"))
        return datum(self.shape, of_steps=of_steps)

    def component(self, slot: str) -> Any:
        """The component that is chosen for a part.

        >>> Recipe((2, 3)).component("prior").about
        'N(0, I), or uniform for discrete latents'
        """
        return find(slot, getattr(self, slot))

    def __call__(self, rng: np.random.Generator) -> tuple[Any, Any]:
        """The (model, guide) with weights drawn from ``rng``."""
        b, program = backends.load(self.backend), self.component("program")
        if program.own_parts:
            model = program.build(b, self, rng, None, None)
            return model, self.component("guide").build(b, self, rng, None, model)
        posterior = self._posterior(b, rng)
        prior = self._prior(b, posterior, rng)
        likelihood = self._likelihood(b, rng)
        model = program.build(b, self, rng, prior, likelihood)
        return model, self.component("guide").build(b, self, rng, posterior, model)

    def _posterior(self, b: backends.Backend, rng: np.random.Generator) -> Any:
        """q(z | x) over a net from images, or for a guide without an encoder over a table from positions."""
        posterior = self.component("posterior")
        outputs = posterior.outputs(self)
        if self.component("guide").has_encoder:
            return posterior.build(b, self, rng, likelihoods.build_encoder(b, self, rng, outputs))
        assert self.num_images is not None
        rows = posterior.start(self)
        rows = np.zeros((self.num_images, outputs)) if rows is None else rows
        return posterior.build(b, self, rng, b.nets.Rows(rows))

    def _prior(self, b: backends.Backend, posterior: Any, rng: np.random.Generator) -> Any:
        if self.conditional_prior:
            return builders.build_conditional_prior(b, self, rng)
        component = self.component("prior")
        prior = component.build(b, self, rng, posterior)
        called_with = self.given_dim and self.component("program").prior_given
        return b.priors.Unconditional(prior) if called_with and not component.conditional else prior

    def _likelihood(self, b: backends.Backend, rng: np.random.Generator) -> Any:
        latents = self.component("latents")
        inputs = self.component("program").reads(self) * latents.width(self) + self.given_dim
        net = likelihoods.build_decoder(b, self, rng, inputs)
        return self.component("likelihood").build(b, self, rng, latents.decode(b, self, net))

    def skeleton(self) -> tuple[Any, Any]:
        """The (model, guide) with arbitrary weights and pseudo-inputs, for a saved fit to fill in."""
        needed = self.component("prior").images_needed(self)
        blank = np.zeros((max(1, needed), self.dim), np.float32)  # num_images stays what it is
        return dataclasses.replace(self, images=blank)(np.random.default_rng(0))

    then: ClassVar[str] = "model, guide = recipe(np.random.default_rng(0)) makes the pair; SVI().fit trains it."

    def shown(self) -> dict[str, Any]:
        """Return the shape, the backend, and what is not its default."""
        usual = {setting.name: setting.default for setting in component_settings().values()}
        usual |= {slot: SLOTS[slot].default for slot in SLOTS}
        usual |= {"given_dim": 0, "conditional_prior": False, "num_images": None}
        said = {name: getattr(self, name) for name in (*SLOTS, "latent_dim", "given_dim", "conditional_prior")}
        said |= {"num_images": self.num_images, **self.settings}
        changed = {name: v for name, v in said.items() if name not in usual or as_python(v) != as_python(usual[name])}
        return {"shape": self.shape, "backend": self.backend, **changed}

    def __repr__(self) -> str:
        return f"Recipe({', '.join(f'{name}={value!r}' for name, value in self.shown().items())})"

    def to_dict(self) -> dict[str, Any]:
        """Every setting but the images, JSON-able; for components from outside, which module registers them, too."""
        saved: dict[str, Any] = {"shape": list(self.shape)}
        saved |= {slot: getattr(self, slot) for slot in SLOTS}
        saved |= {name: getattr(self, name) for name in COMMON if name not in ("shape", "images", "settings")}
        saved |= {name: list(v) if isinstance(v, tuple) else v for name, v in self.settings.items()}
        for name, default in LATER.items():
            if saved[name] == default:
                del saved[name]
        outside = {slot: c.module for slot in SLOTS if not (c := self.component(slot)).is_own}
        return {**saved, "registered_by": outside} if outside else saved

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Recipe:
        """The recipe that ``to_dict`` described.

        Raises:
            ValueError: it names a component that is not registered here; the message says what to import.
        """
        check_saved(settings)
        rest = {name: value for name, value in settings.items() if name != "registered_by"}
        return cls(**{**rest, "shape": tuple(rest["shape"])})
