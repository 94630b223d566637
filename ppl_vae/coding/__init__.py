"""Lossless codes of data by a fit, as long as its bound says."""

from .bits_back import bits_back as bits_back
from .bits_back import decode as decode
from .message import Message as Message
