"""Message, the words that Alice sends, with what Bob has to know beside the fit."""

from __future__ import annotations

import dataclasses
import json
import zlib
from dataclasses import dataclass

import numpy as np

from ..errors import UnreadableFile

MAGIC = b"ppl_vae bits-back 1\n"


@dataclass(frozen=True, eq=False)
class Message:
    """A coded data set: ``bits`` long, of which ``initial_bits`` are other bits of Alice's, which Bob gets back."""

    words: np.ndarray
    """the code, 32-bit words"""
    shape: tuple[int, int]
    """(N, P) of the data"""
    dtype: str
    """their type, such as ``float32``"""
    batch_size: int
    """the rows of one call of the nets, each a stream of the coder"""
    latent_bits: int
    """the bins of a continuous latent are 2^latent_bits"""
    initial_bits: int
    """bits that were there first, random ones or another message"""
    fit: str
    """a digest of the weights"""
    checksum: int
    """the CRC-32 of the data"""
    growth: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0), repr=False)
    """bits by which each batch made the code longer, (batches,); Bob does not get them"""

    @property
    def bits(self) -> int:
        """The length of the code in bits, without the header of ``to_bytes``, some 250 bytes."""
        return 32 * len(self.words)

    @property
    def net_bits(self) -> int:
        """The bits that the data added to those that were there first."""
        return self.bits - self.initial_bits

    @property
    def bits_per_dimension(self) -> float:
        """Net bits for each pixel."""
        return self.net_bits / (self.shape[0] * self.shape[1])

    def to_bytes(self) -> bytes:
        """Write a checksum, a header of text, and the words."""
        names = [f.name for f in dataclasses.fields(self) if f.name not in ("words", "growth")]
        header = json.dumps({name: getattr(self, name) for name in names}).encode()
        content = header + b"\n" + self.words.astype("<u4").tobytes()
        return MAGIC + _checksum(content) + content

    @classmethod
    def from_bytes(cls, content: bytes) -> Message:
        """Read what ``to_bytes`` wrote.

        Raises:
            UnreadableFile: not a message, or a damaged one.
        """
        start = len(MAGIC) + len(_checksum(b""))
        if content[:start] != MAGIC + _checksum(content[start:]):
            raise UnreadableFile(
                f"This should be what Message.to_bytes wrote, complete and unchanged; got {len(content)} bytes that "
                "are not: send the message again, as bytes."
            )
        header, _, body = content[start:].partition(b"\n")
        fields = json.loads(header)
        return cls(np.frombuffer(body, "<u4").astype(np.uint32), **{**fields, "shape": tuple(fields["shape"])})


def _checksum(content: bytes) -> bytes:
    return b"%08x\n" % zlib.crc32(content)
