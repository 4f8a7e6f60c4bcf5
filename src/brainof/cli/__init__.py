"""The command line: one thin file per command, each with `add_arguments(parser)` and `run(args) -> int`.

argparse: see docs/decisions/0060-argparse-stays.md.

Exit codes: 0 done, 2 wrong input, 3 disk or permission, 1 a bug or an unhealthy training run.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any, NoReturn, TextIO

from ..errors import OF_THE_DISK, BrainOFError, ConfigError, did_you_mean
from ..utils.console import table
from ..version import __version__

#: command -> one-line help; the file of the same name holds the rest
COMMANDS = {
    "info": "show channels, units and positions of a file, or the size of a model",
    "prepare": "turn a dataset into a corpus of windows, as its recipe says",
    "index": "list the BIDS datasets in a folder, and what is missing in them",
    "atlas": "list the atlases known by name, or download one",
    "corpus": "inspect, check, copy or reduce a corpus",
    "simulate": "write a simulated tri-modal cohort with known truth",
    "plan": "show what a pretraining recipe costs: memory, communication, time, disk",
    "pretrain": "pretrain a model on one or several corpora, or continue a run",
    "adapt": "adapt a model to a task: probe, LoRA, full fine-tuning, ...",
    "evaluate": "score models on a suite of tasks, beside random weights, classical features and controls",
    "report": "write one HTML page of runs, evaluations, explanations and corpora",
    "explain": "show what a model uses, each map beside its nulls",
    "embed": "turn recordings into embeddings with their window times",
    "push": "upload a release to the Hugging Face Hub",
    "demo": "run the whole path on a simulated cohort and write one HTML page",
    "doctor": "show versions, devices, extras and free disk, and what would help",
    "completion": "print the completion script of a shell",
}


class Parser(argparse.ArgumentParser):
    """argparse with wrong input as one line, and the nearest option for one that does not exist."""

    known: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        fix = f"see `{self.prog} --help`"
        if (unknown := re.match(r"unrecognized arguments: (--[\w-]+)", message)) and self.known:
            fix = did_you_mean(unknown[1], self.known)
        elif word := re.match(r"argument ACTION: invalid choice: '([^']*)'", message):
            message = f"unknown action {word[1]!r}"
            fix = did_you_mean(word[1], next(iter(_subparsers(self))).choices)
        elif "are required" in message and (examples := _examples(self.epilog or "", self.prog)):
            fix = f"for example: {examples[0].partition('  #')[0].strip()}"
        self.exit(2, f"{self.prog}: {message}; {fix}\n")


class ListAction(argparse.Action):
    """An option such as `--list`, which prints `lines()` and ends the command, whatever else is required."""

    def __init__(self, option_strings: list[str], lines: Callable[[], Iterable[str]], help: str, **_: Any) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)
        self.lines = lines

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        out("\n".join(self.lines()))
        parser.exit(0)


def _examples(text: str, prog: str) -> list[str]:
    """The lines of a text that show how to call a program with arguments."""
    return [line for line in text.splitlines() if line.startswith(f"  {prog} ") and " --list" not in line]


def _subparsers(parser: argparse.ArgumentParser) -> list[argparse._SubParsersAction]:
    return [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]


def option_strings(parser: argparse.ArgumentParser) -> list[str]:
    """The long options of a command and of its actions."""
    found = [text for text in parser._option_string_actions if text.startswith("--")]
    for action in _subparsers(parser):
        found += [text for inner in action.choices.values() for text in option_strings(inner)]
    return sorted(set(found))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    named = next((word for word in argv if not word.startswith("-")), None)
    if named is not None and named not in COMMANDS:
        return _failed(f"unknown command {named!r}; {did_you_mean(named, COMMANDS)}", 2)
    parser = make_parser([] if named is None else [named])
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    takes = named is not None and _subparsers(parser)[0].choices[named].get_default("assignments") is not None
    return guarded(parse(parser, argv, takes))


def make_parser(named: Collection[str] = tuple(COMMANDS)) -> Parser:
    """The parser with all commands, of which only those in `named` are imported and know their options."""
    parser = Parser(prog="brainof", description="Brain-OF: one foundation model for fMRI, EEG and MEG")
    parser.add_argument("--version", action="version", version=f"brainof {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=bool(named))
    for name, line in COMMANDS.items():
        command = commands.add_parser(
            name, help=line, description=line, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name in named:
            module = importlib.import_module(f".{name}", __package__)
            command.epilog = module.EXAMPLE
            module.add_arguments(command)
            add_common_arguments(command)
            for action in _subparsers(command):
                for inner in action.choices.values():
                    inner.epilog = "\n".join(["example:", *_examples(module.EXAMPLE, inner.prog)])
                    inner.formatter_class = command.formatter_class
            parser.known = option_strings(command)
            options = [text.removeprefix("--").replace("-", "_") for text in parser.known]
            command.set_defaults(run=module.run, options=options)
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str], takes: bool) -> argparse.Namespace:
    """The arguments; `key=value` words may stand anywhere (argparse alone would lose those that follow an option)."""
    known = [*getattr(parser, "known", ()), "--help", "--version"]
    for word in argv if len(known) > 2 else ():
        # argparse would ask for what is required first
        if word.startswith("--") and not any(text.startswith(word.partition("=")[0]) for text in known):
            parser.error(f"unrecognized arguments: {word.partition('=')[0]}")
    changes = [word for word in argv if takes and re.match(r"[A-Za-z_][\w.-]*=", word)]
    args = parser.parse_args([word for word in argv if word not in changes])
    args.assignments = changes
    return args


_OF_THE_NAME = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR)


def guarded(args: argparse.Namespace) -> int:
    """`args.run(args)` with wrong input as one line on standard error; returns the exit code."""
    level = logging.INFO if args.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    results.append(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):  # MNE logs, and readers of vendors print
            return int(args.run(args) or 0)
    except BrainOFError as error:
        if args.debug:
            raise
        return _failed(error.on_command_line(getattr(args, "options", ())), error.exit_code)
    except OSError as error:
        if args.debug or error.errno not in (*OF_THE_DISK, *_OF_THE_NAME):
            raise
        name = str(error.filename or "disk")
        shown = name if len(name) <= 200 else f"{name[:100]}...{name[-50:]}"
        return _failed(f"{shown}: {error.strerror}", 2 if error.errno in _OF_THE_NAME else 3)
    except KeyboardInterrupt:
        return _failed("interrupted", 130)
    finally:
        results.pop()


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every command."""
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is done")
    parser.add_argument("--debug", action="store_true", help="show a traceback instead of one line")


def takes_assignments(parser: argparse.ArgumentParser, what: str) -> None:
    """Let a command take `key=value` words anywhere; they arrive as `args.assignments`."""
    parser.usage = f"{parser.format_usage().removeprefix('usage: ').strip()} [key=value ...]"
    parser.set_defaults(assignments=[])
    parser.description = f"{parser.description}; key=value words change {what}"


def parse_part(text: str) -> tuple[int, int]:
    """`I/N` as two numbers; a ConfigError where it is not."""
    number, _, parts = text.partition("/")
    try:
        return int(number), int(parts)
    except ValueError:
        raise ConfigError(f"{text!r}", field="part", fix="give I/N, such as 3/16") from None


def say(message: str) -> None:
    """Print a line on standard error."""
    print(f"brainof: {message}", file=sys.stderr)  # noqa: T201


def _failed(message: str, code: int) -> int:
    say(message)
    return code


#: where the results of a command go: standard output is theirs alone
results: list[TextIO] = []


def out(text: str) -> None:
    """Print a command's result on standard output."""
    text = text.encode(errors="backslashreplace").decode()  # file names need not be UTF-8
    stream = results[-1] if results else sys.stdout
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:  # who reads it (`| head`) has enough; the work goes on
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def columns(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table, as standard output can show it."""
    return table(rows, results[-1] if results else sys.stdout)


def show(args: argparse.Namespace, values: Any, lines: Iterable[str]) -> int:
    """Print what was found: one JSON object with `--json`, else lines; the exit code 0."""
    out(json.dumps(values, default=str) if args.json else "\n".join(lines))
    return 0
