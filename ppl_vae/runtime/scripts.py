"""Ends of scripts: what their user can mend is a line, and no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable


def run(main: Callable[[], object], interrupted: str = "give the same command again") -> int:
    """Run a script's ``main``, and return its exit status, for ``sys.exit(scripts.run(main))``.

    Args:
        main: the script; a ``ValueError``, ``TypeError``, ``ImportError``, ``OSError`` or ``FloatingPointError`` of it
            is written to stderr as a line.
        interrupted: what to say after an interruption by the keyboard: how to go on.

    Returns: 0, 2 after an error, 130 after an interruption.

    >>> run(lambda: print("done"))
    done
    0
    """
    try:
        main()
    except KeyboardInterrupt:
        print(f"interrupted: {interrupted}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, ImportError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
