"""The command line: ``ppl-vae fit``, ``evaluate``, ``encode``, ``sample``, ``compare``, ``data``; a module for each."""

from .main import main as main
