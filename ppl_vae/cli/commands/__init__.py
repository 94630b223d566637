"""Commands of ``ppl-vae``, one module each."""
