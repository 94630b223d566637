"""The command line: ``ppl-vae fit``, ``evaluate``, ``encode``, ``sample`` and ``compare``; one module per command."""

from .main import main as main
