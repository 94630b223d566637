"""Components: what a recipe's parts are made of, a table for each part; an entry is all that a new one needs.

A component has a name, a few words of help, settings, a builder and refusals of its own. A builder gets the backend's
modules ``b`` (``backends.Backend``), the recipe, whose settings are its attributes (``Values``), and what its part is
made from; it returns a module of that backend. A builder imports a backend's library inside itself, never at the top of
its module, so that a help text loads none.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Protocol

import numpy as np

from ..arrays.plain import as_python
from ..backends import Backend
from ..data.checks import closest
from ..data.streams import Data
from ..data.tables.kinds import Column
from ..runtime.extensions import load_registered as load_registered


class Values(Protocol):
    """A recipe as its components see it: what all recipes have, and every component's settings as attributes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image."""

    @property
    def dim(self) -> int:
        """Number of pixels, P."""

    @property
    def latent_dim(self) -> int:
        """D."""

    @property
    def given_dim(self) -> int:
        """G, the width of the side information, 0 for none."""

    @property
    def num_images(self) -> int | None:
        """Images that a guide without an encoder is for."""

    @property
    def images(self) -> Data | None:
        """Training images (N, P), where the recipe has some."""

    @property
    def backend(self) -> str:
        """Its name."""

    def component(self, slot: str) -> Any:
        """The component that is chosen for a part."""

    def __getattr__(self, name: str) -> Any:
        """A setting of a component, or the name of a chosen one."""


def _accept(recipe: Values) -> str | None:
    """No refusal."""
    return None


def _none(recipe: Values) -> int:
    return 0


def _one(recipe: Values) -> int:
    return 1


def _nowhere(recipe: Values) -> np.ndarray | None:
    return None


@dataclass(frozen=True)
class Setting:
    """A setting of components, by one name in recipes, configurations and on the command line (``--like-this``).

    Components may share a setting; then they declare the same one.

    Args:
        name: of an argument.
        default: a truth value, a number, a text, or a tuple of one kind; it says what kind of value the setting has.
        help: a few words.
        least: the smallest number.
        above: a bound that a number is above.
        choices: the texts that there are.
        offered: the same, but for the command line alone: the builder takes others, too.
        metavar: how the command line's help calls the value.

    >>> Setting("scale", 1.0, "of the prior", above=0).check(2)
    2.0
    """

    name: str
    default: Any
    help: str
    least: float | None = None
    above: float | None = None
    choices: tuple[str, ...] | None = None
    offered: tuple[str, ...] | None = None
    metavar: str | None = None

    @property
    def kind(self) -> type:
        """Type of the value, or of each entry of a tuple."""
        return type(self.default[0] if self.is_tuple else self.default)

    @property
    def is_tuple(self) -> bool:
        """Whether the value is a tuple."""
        return isinstance(self.default, tuple)

    def check(self, value: Any) -> Any:
        """The value as it is kept: one that JSON has, but for the tuple.

        Raises:
            ValueError: another kind of value, an unknown text, or a number outside the limits.
        """
        value = as_python(value)
        if not self.is_tuple:
            return self._one(value, within_limits=True)
        if isinstance(value, str) or not isinstance(value, Iterable):
            one = f": write ({value!r},)" if not isinstance(value, str) else ""
            raise ValueError(f"{self.name!r} should be a tuple; got {value!r}{one}.")
        return tuple(self._one(as_python(entry), within_limits=False) for entry in value)

    def _one(self, value: Any, *, within_limits: bool) -> Any:
        if self.choices is not None and value not in self.choices:
            raise ValueError(f"Unknown {self.name} {value!r}; there are {', '.join(self.choices)}.")
        if self.kind is bool and isinstance(value, Integral):
            return bool(value)
        if self.kind is int and isinstance(value, Real) and _is_whole(value):
            value = round(value)
        elif self.kind is float and isinstance(value, Real):
            value = float(value)
        elif self.kind is not str or not isinstance(value, str):
            raise ValueError(f"{self.name!r} should be {KINDS[self.kind]}; got {value!r}.")
        if self.least is not None and within_limits and value < self.least:
            raise ValueError(f"{self.name!r} should be at least {self.least}; got {value}.")
        if self.above is not None and within_limits and not value > self.above:
            raise ValueError(f"{self.name!r} should be above {self.above}; got {value}.")
        return value


def _is_whole(value: Any) -> bool:
    """Whether a number is whole but for rounding, as those of ``np.geomspace(16, 4, 3)`` are."""
    return math.isfinite(value) and math.isclose(value, round(value))


KINDS: dict[type, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text, which a file can hold",
}
"""Kind of a setting -> how a refusal calls it."""


@dataclass(frozen=True)
class Component:
    """The entry of a table.

    Args:
        name: by which a recipe chooses it.
        about: a few words of help.
        settings: of its own.
        refuse: ``refuse(recipe)`` says why it does not fit the rest of the recipe and what to do, or returns None.
        module: that registers it; ``register`` fills in the one that calls it.
    """

    slot: ClassVar[str]

    name: str
    about: str
    _: dataclasses.KW_ONLY
    settings: tuple[Setting, ...] = ()
    refuse: Callable[[Values], str | None] = _accept
    module: str = ""

    @property
    def is_own(self) -> bool:
        """Whether it comes with this package."""
        return self.module.partition(".")[0] == "ppl_vae"


@dataclass(frozen=True)
class Prior(Component):
    """p(z): a module whose call returns a distribution over z.

    Args:
        build: ``build(b, recipe, rng, posterior)``; the posterior is that of the guide, which a VampPrior shares.
        latents: the kinds of z that it is a distribution of; None for every kind.
        conditional: whether it maps side information c to p(z | c); such a prior needs ``given_dim``.
        images_needed: ``images_needed(recipe)``, how many training images it starts at.
        every_image: whether it holds all training images; the recipe's ``num_images`` is then their number.
        of_posteriors: whether it is a mixture of the encoder's posteriors, at all of which it asks their density.
    """

    slot: ClassVar[str] = "prior"

    build: Callable[[Backend, Values, np.random.Generator, Any], Any]
    latents: tuple[str, ...] | None = ("gaussian",)
    conditional: bool = False
    images_needed: Callable[[Values], int] = _none
    every_image: bool = False
    of_posteriors: bool = False


@dataclass(frozen=True)
class Likelihood(Component):
    """p(x | z): a module that maps z (..., D) to a distribution over the pixels, event shape (P,).

    Args:
        build: ``build(b, recipe, rng, net)``; the net maps z to ``outputs`` numbers for each pixel.
        outputs: ``outputs(recipe)``, numbers for each pixel.
        side_by_side: whether the numbers of one pixel stand side by side, (P, outputs); else (outputs, P).
        unit_interval: whether the pixels should be in [0, 1].
        columns: ``columns(recipe)``, the kinds of the columns, where they are counts or those of a table; else None.
    """

    slot: ClassVar[str] = "likelihood"

    build: Callable[[Backend, Values, np.random.Generator, Any], Any]
    outputs: Callable[[Values], int] = _one
    side_by_side: bool = False
    unit_interval: bool = False
    columns: Callable[[Values], tuple[Column, ...]] | None = None


@dataclass(frozen=True)
class Latents(Component):
    """A kind of z, with the prior and the posterior that are standard for it.

    Args:
        prior: ``prior(b, recipe)``, the standard prior; None where there is a ``shared_prior``.
        posterior: ``posterior(b, recipe, net)``, the standard posterior; the net maps x to ``outputs`` numbers.
        outputs: ``outputs(recipe)``, numbers for each image.
        start: ``start(recipe)``, where the rows (num_images, outputs) of a guide without an encoder start; None for 0.
        pathwise: whether a draw can be differentiated.
        width: ``width(recipe)``, the numbers that the decoder reads for each image.
        decode: ``decode(b, recipe, net)``, the decoder's net with what turns z into those numbers before it.
        shared_prior: ``shared_prior(b, recipe, rng, posterior)``, where the standard prior shares parts of the
            posterior, such as a codebook; it may set where they start.
        images_needed: ``images_needed(recipe)``, how many training images the standard prior starts at.
        side_by_side: whether the numbers of each latent stand side by side, those of the first one first, both in
            what the encoder's net returns and in what the decoder's reads; so that a grid of cells can have them.
        num_values: ``num_values(recipe)``, the number of values of each latent, 0..C-1, or of codes that stand for
            such; 0 for other latents.
        num_slots: ``num_slots(recipe)``, how many of these stand side by side.
    """

    slot: ClassVar[str] = "latents"

    prior: Callable[[Backend, Values], Any] | None
    posterior: Callable[[Backend, Values, Any], Any]
    outputs: Callable[[Values], int]
    start: Callable[[Values], np.ndarray | None] = _nowhere
    pathwise: bool = False
    width: Callable[[Values], int] = lambda recipe: recipe.latent_dim
    decode: Callable[[Backend, Values, Any], Any] = lambda b, recipe, net: net
    shared_prior: Callable[[Backend, Values, np.random.Generator, Any], Any] | None = None
    images_needed: Callable[[Values], int] = _none
    side_by_side: bool = False
    num_values: Callable[[Values], int] = _none
    num_slots: Callable[[Values], int] = lambda recipe: recipe.latent_dim


@dataclass(frozen=True)
class Posterior(Component):
    """q(z | x): a module that maps x (..., P), with c beside it where there is some, to a distribution over z.

    Args:
        build: ``build(b, recipe, rng, net)``; the net maps x to ``outputs`` numbers. It has the method
            ``distribution(out)`` for what the net returned, as those of ``conditionals`` have.
        outputs: ``outputs(recipe)``, numbers for each image.
        latents: the kinds of z that it is a distribution of; None for every kind.
        start: ``start(recipe)``, where the rows (num_images, outputs) of a guide without an encoder start; None for 0.
    """

    slot: ClassVar[str] = "posterior"

    build: Callable[[Backend, Values, np.random.Generator, Any], Any]
    outputs: Callable[[Values], int]
    latents: tuple[str, ...] | None = ("gaussian",)
    start: Callable[[Values], np.ndarray | None] = _nowhere


@dataclass(frozen=True)
class Net(Component):
    """A kind of nets: the encoder's and the decoder's.

    Args:
        encoder: ``encoder(b, recipe, rng, outputs)`` maps x (..., P + G) to (..., outputs); c stands after x.
        decoder: ``decoder(b, recipe, rng, inputs, outputs)`` maps z, with c after it, (..., inputs), to
            (..., P * outputs): ``outputs`` numbers for each pixel, as the likelihood's ``side_by_side`` says.
        of_steps: whether it is of sequences, step after step.
    """

    slot: ClassVar[str] = "net"

    encoder: Callable[[Backend, Values, np.random.Generator, int], Any]
    decoder: Callable[[Backend, Values, np.random.Generator, int, int], Any]
    of_steps: bool = False


@dataclass(frozen=True)
class Program(Component):
    """p(x, z): the generative program.

    Args:
        build: ``build(b, recipe, rng, prior, likelihood)``.
        prior_given: whether it calls the prior with the side information, where there is some.
        guides: the guides that draw its latents; None for those of one site ``z``.
        reads: ``reads(recipe)``, the number of z side by side that the likelihood reads.
        own_parts: whether it makes all its parts itself; its builder, and that of its guide, get None for the others.
        of_steps: whether it is of sequences, step after step.
    """

    slot: ClassVar[str] = "program"

    build: Callable[[Backend, Values, np.random.Generator, Any, Any], Any]
    prior_given: bool = True
    guides: tuple[str, ...] | None = None
    reads: Callable[[Values], int] = _one
    own_parts: bool = False
    of_steps: bool = False


@dataclass(frozen=True)
class Guide(Component):
    """The inference program, which draws z from the posterior.

    Args:
        build: ``build(b, recipe, rng, posterior, model)``.
        has_encoder: whether the posterior's parameters come from a net; else from a table with a row for each image.
        programs: the programs whose latents it draws; None for those of one site ``z``.
    """

    slot: ClassVar[str] = "guide"

    build: Callable[[Backend, Values, np.random.Generator, Any, Any], Any]
    has_encoder: bool = True
    programs: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Slot:
    """A part of a recipe: a few words, and the component that is chosen where nobody says which."""

    about: str
    default: str


SLOTS: dict[str, Slot] = {
    "prior": Slot("p(z)", "standard"),
    "likelihood": Slot("p(x | z)", "bernoulli"),
    "latents": Slot("the kind of z; discrete ones need an objective that serves them", "gaussian"),
    "posterior": Slot("the family of q(z | x)", "standard"),
    "net": Slot("encoder and decoder", "mlp"),
    "program": Slot("p(x, z)", "vae"),
    "guide": Slot("how q(z | x) is reached", "amortised"),
}
"""Part of a recipe -> what it is."""

TABLES: dict[str, dict[str, Any]] = {slot: {} for slot in SLOTS}
"""Part of a recipe -> the components that are registered for it, by name."""

COMMON = ("shape", "latent_dim", "given_dim", "conditional_prior", "num_images", "backend", "images", "settings")
"""What every recipe has beside its components and their settings."""


def register(component: Component) -> None:
    """Put a component into the table of its part; the module that registered it may register it anew.

    Raises:
        ValueError: a name that is taken, or a setting whose name is one of something else.
    """
    caller = sys._getframe(1).f_globals.get("__name__", "__main__")
    component = dataclasses.replace(component, module=component.module or caller)
    table = TABLES[component.slot]
    known = table.get(component.name)
    if known is not None and (known.is_own or known.module != component.module):
        raise ValueError(
            f"There is a {component.slot} {component.name!r} already, of {known.module}: give it another name."
        )
    for setting in component.settings:
        if setting.name in (*COMMON, *SLOTS) or not setting.name.isidentifier():
            raise ValueError(f"{setting.name!r} cannot be the name of a setting of {component.name!r}: rename it.")
        for other in owners(setting.name):
            theirs = next(s for s in other.settings if s.name == setting.name)
            if other is not known and theirs != setting:
                raise ValueError(
                    f"The setting {setting.name!r} of the {component.slot} {component.name!r} is one of the "
                    f"{other.slot} {other.name!r} too, with another meaning: rename it."
                )
    table[component.name] = component


def find(slot: str, name: str) -> Any:
    """The component of that name; installed packages are asked where it is not known.

    Raises:
        ValueError: an unknown name; the message lists what there is.

    >>> find("prior", "mixture").about
    'a mixture of Gaussians'
    """
    if not is_registered(slot, name):
        raise ValueError(f"Unknown {slot} {name!r}; there are {', '.join(TABLES[slot])}.")
    return TABLES[slot][name]


def is_registered(slot: str, name: str) -> bool:
    """Whether there is a component of that name, here or in an installed package."""
    if name not in TABLES[slot]:
        load_registered()
    return name in TABLES[slot]


def check_saved(settings: Mapping[str, Any], names: Iterable[str] = ()) -> None:
    """Refuse settings that were saved where a component was registered that is not registered here.

    Args:
        settings: what ``Recipe.to_dict`` gave.
        names: the modules that were imported then, if that is known.

    Raises:
        ValueError: names the component, and what to import.
    """
    for slot in SLOTS:
        name = settings.get(slot)
        if name is None or is_registered(slot, name):
            continue
        modules = [*names] or [settings.get("registered_by", {}).get(slot, "MODULE")]
        imports, options = "; ".join(f"import {m}" for m in modules), " ".join(f"--with {m}" for m in modules)
        raise ValueError(
            f"Unknown {slot} {name!r}; there are {', '.join(TABLES[slot])}. It is one of those that a module outside "
            f"of ppl_vae registers: install the package that does, or register it first, by '{imports}' in Python and "
            f"by 'ppl-vae {options} ...' on the command line. No saved file imports anything by itself."
        )


def owners(name: str) -> list[Component]:
    """The components that have a setting of that name."""
    return [c for table in TABLES.values() for c in table.values() if any(s.name == name for s in c.settings)]


def settings(*, own: bool | None = None) -> dict[str, Setting]:
    """Every setting that registered components have, by name.

    Args:
        own: of those alone that come with this package, or, if False, of those alone that do not; by default of all.
    """
    entries = [c for table in TABLES.values() for c in table.values()]
    ours = {s.name: s for c in entries if c.is_own for s in c.settings}
    if own is True:
        return ours
    others = {s.name: s for c in entries for s in c.settings if s.name not in ours}
    return others if own is False else {**ours, **others}


def resolve(chosen: Mapping[str, Component], given: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """The values of this package's settings and of those of the chosen components, checked, defaults filled in.

    Args:
        chosen: the component of each part.
        given: settings that a caller gave.
        kept: those of another recipe, of which the ones stay that have a use.

    Raises:
        ValueError: a setting that is unknown, or of a component that is not chosen, or a wrong value.
    """
    known = settings()
    used = {s.name: s for c in chosen.values() for s in c.settings}
    for name in given:
        if name not in known:
            names = (*SLOTS, *COMMON, *known)
            raise ValueError(f"There is no setting {name!r} of a recipe{closest(name, names)}.")
        if name not in used and not any(c.is_own for c in owners(name)):
            theirs = owners(name)[0]
            raise ValueError(
                f"{name!r} is a setting of the {theirs.slot} {theirs.name!r}, and here it is "
                f"{chosen[theirs.slot].name!r}: leave it out, or choose {theirs.slot}={theirs.name!r}."
            )
    values = {**kept, **given}
    return {n: s.check(values.get(n, s.default)) for n, s in {**settings(own=True), **used}.items()}
