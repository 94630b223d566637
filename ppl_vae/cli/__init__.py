"""The command line: ``ppl-vae fit``, ``evaluate``, ``encode`` and ``sample``; one module per command."""

from .main import main as main
