"""Command line ``ppl-vae``: one module for each command, and modules that the commands share."""

from .main import main as main
