"""Bits-back coding: data without loss in as many bits as the negative ELBO says, by an asymmetric numeral system.

Alice takes z off her stack of bits by q(z | x), puts x on by p(x | z), and z by p(z). Bob takes z off by p(z), x by
p(x | z), and puts z back by q(z | x): the bits that chose z are there again.

Practical Lossless Compression with Latent Variables using Bits Back Coding, Townsend, Bird and Barber, 2019; Keeping
Neural Networks Simple by Minimizing the Description Length of the Weights, Hinton and van Camp, 1993.
"""

from __future__ import annotations

import zlib

import numpy as np

from ..pairs.densities import check_prior
from ..pairs.inputs import digest
from ..results.fit import Fit
from ..seeds import generator
from .ans import Coder
from .intervals import PRECISION
from .message import Message
from .nets import Nets, symbols_of, values_of


def bits_back(fit: Fit, x: np.ndarray, *, batch_size: int = 1, latent_bits: int = 12, seed: int = 0) -> Message:
    """Code the rows of x (N, P) one after the other, each with the code so far as its source of random bits.

    The code grows by -log2 p(x | z) p(z) / q(z | x) bits for each row, in expectation the negative ELBO / log 2: random
    numbers that Bob has, too, are added to the bits that choose z, which under a poor model are not random themselves.
    Discrete latents are coded exactly, up to probabilities in multiples of 2^-30; of a continuous latent the bin, one
    of 2^latent_bits of equal mass under p(z), whose median is then z.

    Args:
        fit: a pair with one latent site and one observed one, each of independent entries.
        x: data (N, P): zeros and ones, or the levels of the likelihood.
        batch_size: the rows coded side by side: faster, and more initial bits.
        latent_bits: of a continuous latent.
        seed: of the initial bits.

    Returns:
        A message that ``decode`` makes x of again.

    Raises:
        ValueError: data that the likelihood has no probability for, such as grey levels under a Bernoulli.
        UnsuitableObjective: a pair that cannot be coded; the message names the site.
    """
    check_prior(fit.pair.sites, "bits_back")
    nets = Nets(fit, batch_size, latent_bits)
    data = fit.checked(x)
    values = np.asarray(data.x) + 0  # -0, which is 0, has other bits
    symbols = symbols_of(nets.pixels, values)
    coder = Coder(batch_size, seed)
    sizes = [coder.size]
    for first in range(0, len(values), batch_size):
        rows = slice(first, first + batch_size)
        count = len(values[rows])
        posterior = nets.posterior(values[rows])
        z = coder.take(posterior, _turns(first, posterior.shape))
        coder.put(symbols[rows], nets.likelihood(z))
        coder.put(z, nets.prior(count))
        sizes.append(coder.size)
    return Message(
        coder.words(), values.shape, str(values.dtype), batch_size, latent_bits,
        initial_bits=32 * (2 * batch_size + coder.drawn),
        fit=_digest(fit), checksum=zlib.crc32(values.tobytes()), growth=np.diff(sizes),
    )  # fmt: skip


def decode(fit: Fit, message: Message) -> np.ndarray:
    """Make the data (N, P) of a message again, to the bit.

    The nets must give Bob the numbers that they gave Alice, to the bit: the same weights, backend, device, versions of
    libraries and number of threads. Batches have one shape on both sides.

    Raises:
        ValueError: other weights, or nets that give other numbers here.
    """
    if message.fit != _digest(fit):
        raise ValueError(
            "The message was coded with other weights, or on the other backend, and means nothing under these: pass "
            "the fit that coded it, as Fit.load reads it from what fit.save wrote."
        )
    batch_size = message.batch_size
    nets = Nets(fit, batch_size, message.latent_bits)
    values, x = values_of(nets.pixels, np.dtype(message.dtype)), np.empty(message.shape, message.dtype)
    coder = Coder.read(message.words, batch_size)
    for first in reversed(range(0, len(x), batch_size)):
        rows = slice(first, first + batch_size)
        count = len(x[rows])
        z = coder.take(nets.prior(count))
        x[rows] = values[coder.take(nets.likelihood(z))]
        posterior = nets.posterior(x[rows])
        coder.put(z, posterior, _turns(first, posterior.shape))
    if zlib.crc32(x.tobytes()) != message.checksum:
        raise ValueError(
            "What was decoded is not what was coded: the nets give other numbers here. Decode with the device, the "
            "versions of libraries and the number of threads (torch.get_num_threads(), OMP_NUM_THREADS) that coded it."
        )
    return x


def _turns(first: int, shape: tuple[int, int]) -> np.ndarray:
    """Draw the numbers that are added to the bits which choose the latents of the rows from ``first`` on, (n, E)."""
    return generator(0, "turns", first).integers(0, 2**PRECISION, shape, np.uint64)


def _digest(fit: Fit) -> str:
    """Compute the SHA-256 of a fit's weights and their names."""
    state = fit.pair.state()
    names = np.frombuffer(" ".join(sorted(state)).encode(), np.uint8)
    return digest(names, *(state[name] for name in sorted(state)))
