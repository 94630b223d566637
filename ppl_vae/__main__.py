"""Entry point of ``python -m ppl_vae``, the same as ``ppl-vae``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
