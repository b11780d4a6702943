"""The command `v2v completion`: what makes a shell complete commands, options and their values, by the library argcomplete.

The shell runs `v2v` itself, which answers from its parser: nothing heavy is imported, and the script doesn't age with the options.
"""

from __future__ import annotations

import argparse
import os

from v2v.errors import InputError

SHELLS = ("bash", "zsh", "fish")

EXAMPLES = """\
examples:
  eval "$(v2v completion bash)"                                      in ~/.bashrc
  eval "$(v2v completion zsh)"                                       in ~/.zshrc, after compinit
  v2v completion fish > ~/.config/fish/completions/v2v.fish
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `v2v completion`."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to complete")


def run(args: argparse.Namespace) -> dict[str, str]:
    """Return the script of a shell.

    Raises:
      InputError: argcomplete is missing.
    """
    try:
        import argcomplete
    except ImportError:
        raise InputError(
            "completion: needs the package argcomplete, which isn't installed; pip install argcomplete"
        ) from None
    return {"output": argcomplete.shellcode(["v2v"], shell=args.shell).rstrip()}


def answer_shell(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, and exit; do nothing if none does."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    import argcomplete

    argcomplete.autocomplete(parser)
