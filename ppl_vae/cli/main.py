"""Entry point of ``ppl-vae``: the parser of all commands, and the messages of errors and interruptions."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Container, Sequence

from ..errors import OutOfMemory
from ..runtime.extensions import load_registered
from ..runtime.out_of_memory import ran_out
from ..runtime.versions import __version__
from .completion import SHELLS, PrintCompletion
from .parsing import Parser, flag

COMMANDS = {
    "fit": "train a VAE; leave a run",
    "evaluate": "log p(x), ELBO and active units on test images",
    "encode": "posterior means of images, as a .npy file",
    "reconstruct": "images beside their reconstructions, as a grid or an array",
    "sample": "new images, as a grid or an array",
    "traverse": "what images become as one latent after another moves",
    "explore": "one offline page with sliders over the latents",
    "forecast": "what follows sequences, with intervals, as arrays",
    "metrics": "how well the codes hold the factors of images apart",
    "two-sample": "whether two samples have one law, and how they differ",
    "compare": "many inference strategies on one pair; leave a report",
    "data": "data sets known by name, where they are, their licences",
}
"""Command -> its line in the list; its module, with ``add``, ``run`` and ``interrupted``, is in ``commands``."""

ABOUT = """\
Train a variational auto-encoder on a data set or on your own arrays, and use it.

A training leaves a run: a folder with the fit, its settings, figures and a README. The other commands read that folder;
'compare' makes a folder of its own, with many trainings and a report on them. 'data' lists the data sets known by name.
"""

WALK_THROUGH = """\
from data to pictures:
  ppl-vae fit --data digits --out runs/digits --epochs 50
  ppl-vae evaluate runs/digits
  ppl-vae encode runs/digits --out z.npy
  ppl-vae reconstruct runs/digits --out pairs.png
  ppl-vae sample runs/digits --out grid.png
  ppl-vae traverse runs/digits --out traversal.png
  ppl-vae explore runs/digits --out digits.html

from sequences to what follows them:
  ppl-vae fit --data jsb_chorales --prior markov --posterior filtering --net recurrent --out runs/jsb --epochs 50
  ppl-vae forecast runs/jsb --steps 8 --out next.npz

how well the codes hold the factors of images apart, where the data have labels or FILE says them:
  ppl-vae metrics runs/mine --factors FILE

whether what it draws looks like data that it has not seen:
  ppl-vae two-sample drawn.npy test.npy

a run repeated with another seed, from the settings that it wrote:
  ppl-vae fit --config runs/digits --out runs/digits-1 --seed 1

the data sets known by name (all without one), and where they are:
  ppl-vae data mnist freyfaces

from data to a comparison of inference strategies:
  ppl-vae compare --data digits --out runs/compared --strategies elbo iwae-10 dreg-10 --seeds 0 1 2 --epochs 50

a prior, likelihood, posterior, net or program of your own, which my_module.py in this folder registers:
  ppl-vae --with my_module fit --data digits --out runs/mine --prior mine

completion, in bash for this session; in zsh and fish put what is printed where they look for completions:
  eval "$(ppl-vae --print-completion bash)"

'ppl-vae COMMAND --help' says what a command reads, writes and prints; an image there is one datum, of a table a row, of
sequences a sequence. For scripts every command takes --quiet (no text)
and --json (one object on stdout). Exit codes: 0 done, 2 an error (one line on stderr), 130 interrupted.
"""


def parser(loaded: Container[str] = COMMANDS) -> Parser:
    """Make the parser with every command; of those that are not ``loaded`` it has the names and the lines alone."""
    top = Parser(prog="ppl-vae", description=ABOUT, epilog=WALK_THROUGH)
    text = "import a module that registers components, before anything else is read; may be given more than once"
    top.add_argument("--with", dest="extensions", action="append", default=[], metavar="MODULE", help=text)
    top.add_argument("--version", action="version", version=f"ppl-vae {__version__}")
    text = f"print a script that completes commands and options; SHELL is one of {', '.join(SHELLS)}"
    top.add_argument("--print-completion", action=PrintCompletion, choices=SHELLS, metavar="SHELL", help=text)
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        if name not in loaded:
            commands.add_parser(name, help=text)
            continue
        module = importlib.import_module(f"{__package__}.commands.{name.replace('-', '_')}")
        command = module.add(commands, text)
        command.set_defaults(run=module.run, interrupted=module.interrupted, parser=command)
    return top


def complete(given: argparse.Namespace) -> argparse.Namespace:
    """Complete the options given by those of --config and by the defaults.

    The field ``given`` has no defaults, and ``typed`` the names of those that stand on the command line.

    Raises:
        ValueError: a configuration with unknown names or wrong values.
    """
    command: Parser = given.parser
    typed = {name: value for name, value in vars(given).items() if name in command.values}
    chosen = typed
    if "config" in chosen:
        from . import config

        chosen = {**config.read(chosen["config"], command), **chosen}
    return argparse.Namespace(**{**vars(given), **command.values, **chosen, "given": chosen, "typed": [*typed]})


def find_extensions(arguments: Sequence[str] | None = None) -> tuple[list[str], list[str]]:
    """Split the command line into the modules that --with names, anywhere in it, and the other words.

    Raises:
        ValueError: --with without a module.

    >>> find_extensions(["--with", "mine", "fit", "--prior", "laplace"])
    (['mine'], ['fit', '--prior', 'laplace'])
    """
    first = Parser(prog="ppl-vae", add_help=False)
    first.add_argument("--with", dest="extensions", action="append", default=[], metavar="MODULE")
    known, rest = first.parse_known_args(arguments)
    return known.extensions, rest


def load_extensions(names: Sequence[str]) -> None:
    """Import these modules, also from the working directory, and those that installed packages register.

    Raises:
        ValueError: a module that cannot be imported.
    """
    if names and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    load_registered(names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0 done, 2 an error (one line on stderr), 130 interrupted.

    Args:
        arguments: the words of the command line, without the program's name; by default the process's own.
    """
    try:
        extensions, rest = find_extensions(arguments)
        load_extensions(extensions)
        options = complete(_parsed(rest))
        options.extensions = extensions
    except SystemExit as end:  # --help, --version and --print-completion
        return int(end.code or 0)
    except (ValueError, OSError) as error:
        return _fail(error)
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)  # hides the platforms that JAX lacks
    try:
        options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _print(f"interrupted: {options.interrupted(options)}")
        return 130
    except BrokenPipeError:  # the reader of the output, such as head, has ended; the work is done
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    except (ValueError, FloatingPointError, ImportError, OSError) as error:
        return _fail(error)
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        return _fail(error)
    return 0


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """Parse the words of a command; an unknown one is told by the parser of the command, whose help lists the known.

    Only the modules of commands that are among the words are imported, so that '--help' takes no longer than it must.
    """
    scripted = any(word.startswith("--print-completion") for word in words)
    options, unknown = parser(COMMANDS if scripted else words).parse_known_args(words)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


def _fail(error: Exception) -> int:
    _print(f"error: {_message(error)}")
    return 2


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OutOfMemory):
        return str(error).replace("'batch_size'", flag("batch_size"))
    if ran_out(error):
        return f"out of memory: {error}"
    return str(error) or type(error).__name__


def _print(message: str) -> None:
    """Print a message as one line on stderr."""
    print("ppl-vae:", *message.split(), file=sys.stderr, flush=True)
