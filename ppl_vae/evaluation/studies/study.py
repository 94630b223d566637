"""A comparison that can be interrupted: strategies x backends x seeds, in a folder that remembers what is done."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ... import seeds
from ...arrays.plain import as_python, keep_python
from ...backends import load
from ...data import Split
from ...errors import NotFiniteLoss
from ...pairs.inputs import digest
from ...pairs.side_inputs import Side
from ...results.fit import Fit
from ...runtime import folders, storage
from ...runtime.locks import only_writer
from ...runtime.shown import datum
from ...runtime.versions import __version__, versions
from ...training.settings import describe
from ...training.svi import BaseSVI
from ..certificates import ADAPTING, check_whole
from ..comparison import compare, difference
from ..evaluations import Evaluation, evaluate, plain
from ..likelihood.annealed_importance_sampling import Annealing
from .before import PROBED, digest_of_weights, elbo_before
from .executors import Executor, run_all, sent
from .images import RECONSTRUCTIONS, images_of
from .records import differences, read_json, reason, write_json

CELLS = "cells"
ANOTHER = "use another folder"
SETTINGS, RESULT = "settings.json", "result.json"
CHECKPOINT, FIT, IMAGES = "checkpoint.safetensors", "fit.safetensors", "images.safetensors"


@dataclass(frozen=True)
class Cell:
    """One strategy on one backend: a row of the table.

    Args:
        strategy: its name.
        backend: ``pyro`` or ``numpyro``.
        recipe: ``recipe(rng) -> (model, guide)`` on that backend.
        svi: what trains the pair: an ``SVI`` of that backend, or another object with its ``fit`` and ``to_dict``.
    """

    strategy: str
    backend: str
    recipe: Callable[[np.random.Generator], tuple[Any, Any]]
    svi: Any

    def __post_init__(self) -> None:
        if isinstance(self.svi, BaseSVI) and not isinstance(self.svi, load(self.backend).inference.SVI):
            raise ValueError(
                f"Cell: {self.strategy!r} is said to be on {self.backend}, but its SVI is that of "
                f"{type(self.svi).__module__}: give the backend's own."
            )

    def to_dict(self) -> dict[str, Any]:
        """Every setting, JSON-able."""
        recipe = self.recipe.to_dict() if hasattr(self.recipe, "to_dict") else describe(self.recipe)
        settings = {"strategy": self.strategy, "backend": self.backend, "recipe": recipe, "svi": self.svi.to_dict()}
        return as_python(settings)


@dataclass(frozen=True)
class Result:
    """The result of one training of a study, as its folder holds it."""

    folder: Path
    strategy: str
    backend: str
    seed: int
    evaluation: Evaluation | None
    """None where the training failed, or its fit could not be evaluated; ``note`` says why."""
    history: Mapping[str, np.ndarray]
    settings: Mapping[str, Any]
    note: str

    def fit(self, device: str | None = None) -> Fit:
        """The trained fit.

        Raises:
            FileNotFoundError: the training failed, or its recipe could not make its pair again.
        """
        return Fit.load(self.folder / FIT, device=device)

    @property
    def has_fit(self) -> bool:
        """Whether the training's fit was kept."""
        return (self.folder / FIT).exists()

    def images(self) -> dict[str, np.ndarray]:
        """A few ``originals``, ``reconstructions`` and ``generations``, (N, P) each, of what could be made."""
        return storage.read(self.folder / IMAGES)[0] if (self.folder / IMAGES).exists() else {}


@dataclass(frozen=True)
class Study:
    """Every cell under every seed: trained, evaluated on the test part, and kept in ``folder``.

    ``run`` does what is not done yet. What was interrupted goes on from its checkpoint, so that the table is that of an
    uninterrupted study; Ctrl-C loses no more than ``checkpoint_every`` epochs. Cells and seeds may be added; what a
    folder holds of a cell should have been made from the same data and settings by the same versions. What a training
    refuses, or a loss that becomes NaN, is the reason in its row, in the column ``note``.

    Args:
        folder: made if absent.
        data: what all are trained and tested on.
        cells: the rows.
        seeds: each with weights, order of the data and draws of its own.
        num_particles: draws per test image for log p(x).
        elbo_particles: draws per image for the ELBO.
        gaps: whether to split what each guide misses in two parts (``evaluation.gaps``).
        certify: number of test data whose log p(x) gets a certificate (``evaluation.certify``).
        annealing: settings of the annealed runs of the certificate.
        executor: trains in other processes: ``evaluation.Processes(2)``, or another object whose ``submit`` answers
            with futures as those of ``concurrent.futures`` do. Trainings are sent with the data, and write into
            ``folder``, which all should see. By default they run here, one after the other.
        side: side inputs of the training as ``SVI.fit`` takes them, such as labels known of some data, ``given`` and
            ``valid_given``, and those of the test data, as ``test_mask``. Without these the test data have none.

    Raises:
        ValueError: no cell, no seed, or one of them twice; an executor without ``submit``; certificates of masked data.
    """

    folder: Path
    data: Split
    cells: Sequence[Cell]
    seeds: Sequence[int] = (0,)
    num_particles: int = 500
    elbo_particles: int = 10
    gaps: bool = False
    certify: int = 0
    annealing: Annealing | None = None
    executor: Executor | None = None
    side: Mapping[str, np.ndarray] = field(default_factory=dict)
    known_before: dict[tuple[str, str, int], float | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def annealed(self) -> dict[str, Any]:
        """Settings of the annealed runs, JSON-able."""
        return as_python(asdict(self.annealing or ADAPTING))

    def beside(self, part: str, number: int | None = None) -> dict[str, Any]:
        """Return the side inputs of the first data of a part, ``train``, ``valid`` or ``test``; by default of all."""
        words = {name: name.partition("_") for name in self.side}
        named = {n: (w[0], w[2]) if w[0] in ("valid", "test") else ("train", n) for n, w in words.items()}
        return {own: self.side[name][:number] for name, (of, own) in named.items() if of == part}

    def __post_init__(self) -> None:
        keep_python(self, "seeds")
        for what, values in (("cell", [(c.strategy, c.backend) for c in self.cells]), ("seed", list(self.seeds))):
            if not values:
                raise ValueError(f"Study: there should be at least one {what}; got none.")
            twice = [value for i, value in enumerate(values) if value in values[:i]]
            if twice:
                raise ValueError(f"Study: every {what} should be there once; got {twice[0]!r} twice.")
        if self.executor is not None and not isinstance(self.executor, Executor):
            raise ValueError(
                "Study: 'executor' should have a method 'submit' that answers with futures, as "
                f"evaluation.Processes(2) has; got {self.executor!r}."
            )
        if self.certify:
            check_whole(self.side.get("test_mask"))
        folders: dict[str, str] = {}
        for training in self._trainings():
            other = folders.setdefault(training.folder.name.casefold(), training.name)
            if other != training.name:
                raise ValueError(f"Study: {other!r} and {training.name!r} would share a folder: rename one.")

    def run(self, *, device: str | None = None, progress: bool | None = None) -> pd.DataFrame:
        """Do what is not done yet; return the table.

        Args:
            device: where to train, as in ``SVI.fit``.
            progress: a progress bar per training; None shows it on a terminal only.

        Raises:
            ValueError: the folder holds one of these trainings from other data, settings or versions, or something else
                made it; a cell that cannot be sent to the executor.
            OutOfMemory: the message names the settings to lower; what is done is kept.
            InUse: another process runs a study in the folder.
        """
        folders.refuse_others(Path(self.folder), folders.STUDY, folders.COMPARISON, folders.REPORT, remedy=ANOTHER)
        with only_writer(Path(self.folder), folder=True):
            return self._run(device, progress)

    def _run(self, device: str | None, progress: bool | None) -> pd.DataFrame:
        trainings = list(self._trainings())
        for cell in self.cells:
            load(cell.backend).inference.pair.find_device(device)
            batch_size = getattr(cell.svi, "batch_size", 1)
            if batch_size > len(self.data.train):
                raise ValueError(
                    f"'batch_size' is {batch_size}, but there are only {len(self.data.train)} data points: lower it."
                )
        for training in trainings:
            training.check()
        if self.executor is not None:
            self._send([training for training in trainings if not training.done], self.executor, device)
            return self.table()
        warm: set[str] = set()
        for number, training in enumerate(trainings, 1):
            training.tidy()
            if not training.done:
                if training.cell.backend not in warm and training.warm_up(device):
                    warm.add(training.cell.backend)
                training.run(device, progress, f"{number}/{len(trainings)} {training.name}")
        return self.table()

    def _send(self, trainings: Sequence[_Training], executor: Executor, device: str | None) -> None:
        """Let the executor do these trainings."""
        here = dataclasses.replace(self, executor=None, folder=Path(self.folder).absolute())
        for training in trainings:
            training.tidy()
        jobs = [(t.name, sent(t.name, dataclasses.replace(t, study=here))) for t in trainings]
        run_all(executor, jobs, device)

    def results(self) -> list[Result]:
        """The results of the trainings that are done, seed by seed."""
        return [training.result() for training in self._trainings() if training.done]

    @property
    def datum(self) -> str:
        """The name of one datum in what is printed, as the first cell's recipe says, or the shape of the data."""
        return getattr(self.cells[0].recipe, "datum", datum(self.data.image_shape))

    @property
    def remaining(self) -> int:
        """The number of trainings that are not done yet."""
        return sum(not training.done for training in self._trainings())

    def table(self) -> pd.DataFrame:
        """One row per cell: the columns of ``compare`` over the seeds that are done, and what the row is of.

        Before them ``strategy``, ``backend``, ``is_bound``, whether the objective is one, and ``seeds``, how many the
        numbers are the mean of; after ``log_p`` how far it is from the best, ``log_p_difference``, with its
        ``difference_error`` (see ``evaluation.difference``), of the certified numbers where there are any, and NaN
        for a row whose number is not settled; at the end ``note``.
        """
        return tabulate(self.results())

    def _trainings(self) -> Iterator[_Training]:
        """Seed by seed, so that an interrupted study has something to say of every cell."""
        return (_Training(self, cell, seed) for seed in self.seeds for cell in self.cells)


def row_names(results: Sequence[Result]) -> list[str]:
    """The name of each result's row: the strategy, and the backend where there are several."""
    several = len({r.backend for r in results}) > 1
    return [f"{r.strategy} ({r.backend})" if several else r.strategy for r in results]


def tabulate(results: Sequence[Result]) -> pd.DataFrame:
    """The table of ``Study.table``."""
    groups: dict[str, list[Result]] = {}
    for name, result in zip(row_names(results), results, strict=True):
        groups.setdefault(name, []).append(result)
    evaluations = {name: [r.evaluation for r in group if r.evaluation] for name, group in groups.items()}
    rows = {
        name: {
            "strategy": group[0].strategy,
            "backend": group[0].backend,
            "is_bound": group[0].settings["cell"]["svi"].get("is_bound"),
            "seeds": len(evaluations[name]),
            "note": _note(group),
        }
        for name, group in groups.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    finished = {name: group for name, group in evaluations.items() if group}
    if finished:
        numbers = compare(finished)
        behind = _behind(groups, numbers)
        place = numbers.columns.get_loc("log_p") + 1
        numbers.insert(place, "log_p_difference", [mean for mean, _ in behind])
        numbers.insert(place + 1, "difference_error", [error for _, error in behind])
        notes = table.pop("note")
        table = table.join(numbers).assign(note=notes)
        table.attrs.update(numbers.attrs)
    return table


def _behind(groups: Mapping[str, Sequence[Result]], numbers: pd.DataFrame) -> list[tuple[float, float]]:
    """The difference of each row to the best; NaN where a row has a certificate, but no rank, or nothing is known."""
    if numbers["log_p"].isna().all():
        return [(math.nan, math.nan) for _ in numbers.index]
    if "rank" not in numbers:
        best = groups[numbers["log_p"].idxmax()]
        return [_difference(groups[name], best) for name in numbers.index]
    places = numbers["rank"].dropna()
    best = groups[places.idxmin()] if len(places) else []
    none = math.nan, math.nan
    return [_difference(groups[n], best, certified=True) if n in places else none for n in numbers.index]


def _difference(one: Sequence[Result], other: Sequence[Result], *, certified: bool = False) -> tuple[float, float]:
    """``difference`` over the seeds that both have."""
    ours, theirs = ({r.seed: r.evaluation for r in group if r.evaluation} for group in (one, other))
    common = [seed for seed in ours if seed in theirs]
    if not common:
        return math.nan, math.nan
    return difference([ours[seed] for seed in common], [theirs[seed] for seed in common], certified=certified)


def _note(results: Sequence[Result]) -> str:
    """The reasons of those that failed, each once, with its seeds."""
    seeds_of: dict[str, list[str]] = {}
    for result in results:
        if result.note:
            seeds_of.setdefault(result.note, []).append(str(result.seed))
    return " ".join(
        f"{'Seeds' if len(numbers) > 1 else 'Seed'} {', '.join(numbers)}: {note}" for note, numbers in seeds_of.items()
    )


@dataclass(frozen=True)
class _Training:
    """One cell under one seed, and its folder."""

    study: Study
    cell: Cell
    seed: int

    @property
    def name(self) -> str:
        return f"{self.cell.strategy}, {self.cell.backend}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        strategy = re.sub(r"[^\w.+-]+", "-", self.cell.strategy)
        if strategy != self.cell.strategy:  # names that differ in what a folder's may not hold
            strategy += f"-{zlib.crc32(self.cell.strategy.encode()):08x}"
        return Path(self.study.folder) / CELLS / f"{strategy}-{self.cell.backend}-seed{self.seed}"

    @property
    def done(self) -> bool:
        return (self.folder / RESULT).exists()

    def tidy(self) -> None:
        """Remove what a killed process left."""
        storage.remove_parts(*(self.folder / name for name in (SETTINGS, FIT, IMAGES, RESULT)))
        if self.done:
            (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def settings(self) -> dict[str, Any]:
        study = self.study
        return {
            "cell": self.cell.to_dict(),
            "weights": digest_of_weights(self._fresh),
            **({} if (before := self._elbo_before()) is None else {"elbo_before": before}),
            "seed": self.seed,
            "data": study.data.to_dict(),
            "num_particles": study.num_particles,
            "elbo_particles": study.elbo_particles,
            **({"gaps": True} if study.gaps else {}),
            **({"side": {name: digest(values) for name, values in study.side.items()}} if study.side else {}),
            **({"certify": study.certify, "annealing": study.annealed()} if study.certify else {}),
            "version": __version__,
            "libraries": versions(),
        }

    def _fresh(self) -> Any:
        return load(self.cell.backend).inference.Pair(*self._pair())

    def _elbo_before(self) -> float | None:
        """The ELBO of a few data before training: of programs that are no recipe's, weights do not tell all."""
        known, key = self.study.known_before, (self.cell.strategy, self.cell.backend, self.seed)
        if not hasattr(self.cell.recipe, "to_dict") and key not in known:
            x, side = np.asarray(self.study.data.test[:PROBED]), self.study.beside("test", PROBED)
            known[key] = elbo_before(self._fresh, x, side, len(self.study.data.train), self.seed)
        return known.get(key)

    def check(self) -> None:
        """Refuse what the folder holds from other data, settings or versions."""
        if (self.folder / SETTINGS).exists():
            recorded, ours = read_json(self.folder / SETTINGS), json.loads(json.dumps(self.settings()))
            if np.isclose(recorded.get("elbo_before", math.nan), ours.get("elbo_before", math.nan), rtol=1e-3):
                ours["elbo_before"] = recorded["elbo_before"]  # but for rounding on another machine
            different = next(differences(recorded, ours, ""), None)
            if different:
                name, theirs, own = different
                raise ValueError(
                    f"{self.folder} was made with other settings: its {name} is {theirs!r}, here it is {own!r}. Use "
                    "the settings that it has, or another folder."
                )

    def warm_up(self, device: str | None) -> bool:
        """A step that is thrown away: what libraries load at their first is then counted to no strategy's memory."""
        svi, train = self.cell.svi, self.study.data.train
        if not isinstance(svi, BaseSVI):
            return False
        brief = dataclasses.replace(svi, epochs=1, patience=None)
        try:
            side = self.study.beside("train", svi.batch_size)
            brief.fit(*self._pair(), train[: svi.batch_size], **side, device=device, progress=False)
        except (ValueError, NotFiniteLoss):
            return False  # ``run`` will say why, or the pair is made for all of the data
        return True

    def _pair(self) -> tuple[Any, Any]:
        return self.cell.recipe(seeds.generator(self.seed, "weights"))

    def run(self, device: str | None, progress: bool | None, description: str) -> None:
        write_json(self.folder / SETTINGS, self.settings(), indent=2)
        result: dict[str, Any] = {"note": "", "evaluation": None, "history": {}, "device": device}
        try:
            fit = self.cell.svi.fit(
                *self._pair(),
                self.study.data,
                **{n: x for n, x in self.study.side.items() if not n.startswith("test_")},
                seed=self.seed,
                device=device,
                checkpoint=self.folder / CHECKPOINT,
                resume=True,
                progress=progress,
                description=description,
            )
        except (ValueError, NotFiniteLoss) as error:
            result["note"] = reason(error)
        else:
            result |= {
                "history": {name: plain(np.asarray(values)) for name, values in fit.history.items()},
                "device": str(getattr(fit.pair, "device", device)),
            }
            self._save(fit)
            try:
                result["evaluation"] = self._evaluate(fit, progress).to_dict()
            except ValueError as error:
                result["note"] = f"trained, but not evaluated: {error}"
        write_json(self.folder / RESULT, result)
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def _evaluate(self, fit: Fit, progress: bool | None) -> Evaluation:
        study, on_test = self.study, fit
        if not fit.generalises:
            on_test = fit.refine(study.data.test, progress=progress, **study.beside("test"))
        self._save_images(fit, on_test)
        beside: Side = {"mask": study.side["mask"]} if "mask" in study.side else {}
        return evaluate(
            fit,
            study.data.test,
            study.num_particles,
            train=study.data.train,
            train_side=beside,
            refined=None if fit.generalises else on_test,
            elbo_particles=study.elbo_particles,
            gaps=study.gaps,
            certify=study.certify,
            annealing=study.annealing,
            progress=progress,
            **study.beside("test"),
        )

    def _save(self, fit: Fit) -> None:
        """Keep the fit if it can be read again: not every guide is one of a recipe."""
        if hasattr(self.cell.recipe, "to_dict"):
            fit.save(self.folder / FIT, recipe=self.cell.recipe)
            try:
                Fit.load(self.folder / FIT)
            except (ValueError, KeyError, TypeError):
                (self.folder / FIT).unlink()

    def _save_images(self, fit: Fit, on_test: Fit) -> None:
        originals = self.study.data.test[:RECONSTRUCTIONS]
        images = images_of(fit, on_test, originals, **self.study.beside("test", RECONSTRUCTIONS))
        storage.write(self.folder / IMAGES, images, {"kind": "images"})

    def result(self) -> Result:
        self.check()
        content, settings = read_json(self.folder / RESULT), read_json(self.folder / SETTINGS)
        evaluation = content["evaluation"]
        return Result(
            folder=self.folder,
            strategy=self.cell.strategy,
            backend=self.cell.backend,
            seed=self.seed,
            evaluation=None if evaluation is None else Evaluation.from_dict(evaluation),
            history={name: np.array(values, float) for name, values in content["history"].items()},
            settings={**settings, "device": content["device"]},
            note=content["note"],
        )
