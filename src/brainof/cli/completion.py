"""`brainof completion`: the completion script of a shell, written by shtab."""

from __future__ import annotations

import argparse

from . import make_parser, out

EXAMPLE = """examples:
  brainof completion bash > ~/.local/share/bash-completion/completions/brainof
  brainof completion zsh > ~/.zfunc/_brainof

Needs the extra `completion`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell that will read the script")


def run(args: argparse.Namespace) -> int:
    from ..utils.optional import optional

    shtab = optional("shtab", "completion", "`brainof completion`")
    out(shtab.complete(make_parser(), shell=args.shell))
    return 0
