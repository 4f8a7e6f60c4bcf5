"""The named errors of brainof. Each message is one line that names the file, the field and the fix.

The command line maps them to exit codes: 2 for wrong input, 3 for disk or permission, 1 for a training run
that failed its health check or lost one of its processes.
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Collection, Iterable
from functools import partial
from os import PathLike
from typing import Any


class BrainOFError(Exception):
    """Base class of all errors that brainof raises on purpose.

    Parameters
    ----------
    problem : str
        What is wrong, with the offending value.
    file : path-like, optional
        The file concerned.
    field : str, optional
        The field, key or channel concerned; the name of a parameter where there is no file.
    fix : str, optional
        What the user can do about it, in the words of Python: `accept='sfreq'`, `units=`.
    """

    exit_code = 2
    #: fields that are arguments, and no keys of the file that is named
    arguments: tuple[str, ...] = ()

    def __init__(
        self,
        problem: str,
        *,
        file: str | PathLike[str] | None = None,
        field: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.problem, self.file, self.field, self.fix = problem, file, field, fix
        super().__init__(_line(problem, file, field, fix))

    def on_command_line(self, options: Collection[str]) -> str:
        """The message in the words of a command: `accept='sfreq'` in the fix becomes `--accept sfreq`.

        `options` are the names of the command's options as Python writes them (window_seconds); other words stay.
        """
        field = self.field
        if field is not None and (self.file is None or field in self.arguments):  # else it is a key of the file
            name = field if field in options else _OPTIONS.get(field, field)
            field = _flag(name) if name in options else in_options(field, options)
        return _line(self.problem, self.file, field, self.fix and in_options(self.fix, options))

    def __reduce__(self):
        # keyword-only arguments do not survive the default reduction, and workers send errors between processes
        return partial(type(self), self.problem, file=self.file, field=self.field, fix=self.fix), ()


_QUOTED = r"'[^']*'|\"[^\"]*\""
#: name='value', name=value, name=['value', 'value'] or name= in a fix
_ASSIGNMENT = re.compile(rf"\b([a-z]\w*(?:\.\w+)*)=(?:({_QUOTED})|\[((?:{_QUOTED}|[^\]'\"])*)\]|(\w(?:[\w.]*\w)?))?")
#: a call in a fix -> an option, and what a command that has it says instead
_CALLS = (
    (re.compile(r"brainof\.prepare\.resample\(recording, ([\d.]+)\)"), "resample", r"--resample \1"),
    (re.compile(r"recording\.reorder\(.*?\.names\)"), "atlas", "extract the regions with the atlas of training"),
    (re.compile(r"brainof\.prepare\.interpolate\(recording\) where positions are known, or "), "drop", ""),
    (re.compile(r" \(in memory: .*?\)"), "montage", ""),
)
#: what Python calls otherwise than the command line
_OPTIONS = {
    "window_seconds": "window",
    "atlas.image": "atlas",
    "atlas.labels": "labels",
    "atlas.grid_mm": "grid_mm",
    "confounds.file": "confounds",
}


def in_options(text: str, options: Collection[str]) -> str:
    """A text in the words of a command: `units='uV'` becomes `--units uV` where the command has that option."""

    def one(match: re.Match[str]) -> str:
        name, value = match[1], match[2][1:-1] if match[2] else match[4]
        name = name if name in options else _OPTIONS.get(name, name)
        if match[3] and name in options:
            return " ".join(_flag(name, each[1:-1]) for each in re.findall(_QUOTED, match[3]))
        if value == "False" and f"no_{name}" in options:
            return _flag(f"no_{name}")
        return _flag(name, None if value == "True" else value) if name in options else match[0]

    for call, option, words in _CALLS:
        text = call.sub(words, text) if option in options else text
    return _ASSIGNMENT.sub(one, text)


def _flag(name: str, value: str | None = None) -> str:
    if value and not re.fullmatch(r"[\w.,+-]+", value):
        value = f"'{value}'"
    return f"--{name.replace('_', '-')}" + (f" {value}" if value else "")


#: what nobody reads to its end: a path of thousands of letters
_LONG = re.compile(r"\S{300,}")


def _line(problem: str, file: str | PathLike[str] | None, field: str | None, fix: str | None) -> str:
    where = ": ".join(str(part) for part in (file, field) if part is not None)
    text = (f"{where}: " if where else "") + f"{problem}" + (f"; {fix}" if fix else "")
    return _LONG.sub(lambda word: f"{word[0][:100]}...{word[0][-100:]}", " ".join(text.split()))


class ReadError(BrainOFError):
    """A file is missing, of unknown format, damaged or empty."""

    arguments = (
        *("modality", "variable", "events_variable", "channel_names", "channel_types", "pick", "drop", "montage"),
        *("atlas", "atlas.image", "atlas.labels", "atlas.grid_mm", "confounds"),
    )


class RecordingError(BrainOFError, ValueError):
    """A recording was read but cannot be used as it is (too short, no usable channel, not finite)."""


class ConfigError(BrainOFError):
    """A recipe or configuration has an unknown key or a wrong value."""


class LabelError(BrainOFError, ValueError):
    """Labels, events or splits do not match the recordings."""

    arguments = ("confounds",)


class CorpusError(BrainOFError):
    """A corpus is missing, damaged or of another version."""


class ContractError(BrainOFError, ValueError):
    """An input does not meet the InputContract of a model."""


class CheckpointError(BrainOFError):
    """A checkpoint is missing, damaged or belongs to another model."""


#: What the disk refuses: `OSError.errno`
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG)


class StorageError(BrainOFError):
    """The disk is full or a folder cannot be written."""

    exit_code = 3


class DependencyError(BrainOFError):
    """An optional package that was asked for is not installed."""


class FetchError(BrainOFError):
    """A download that was asked for failed."""

    exit_code = 3


class RankError(BrainOFError):
    """A process of a run on several ended, or does not answer."""

    exit_code = 1


class HealthError(BrainOFError):
    """Training runs but does not learn: the decoder ignores the latents, or the loss is not finite."""

    exit_code = 1


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to `word`, or None when nothing is close."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A fix that suggests the nearest known word, or lists them all."""
    known = sorted(known)
    close = nearest(word, known)
    return f"did you mean {close!r}?" if close else f"known: {', '.join(known)}"


def check_known(
    word: Any, known: Iterable[str], error: type[BrainOFError], problem: str = "{!r}", **where: Any
) -> None:
    """An `error` with the nearest known word where `word` is none of them; `problem` is formatted with it."""
    known = list(known)
    if word not in known:
        raise error(problem.format(word), **where, fix=did_you_mean(str(word), known))
