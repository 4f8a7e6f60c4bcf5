"""Job: what is done with one recording of a dataset, from its file to the corpus."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from .. import io
from ..corpus import CorpusWriter
from ..errors import BrainOFError, ConfigError, ReadError, RecordingError, StorageError
from ..io.atlas import atlas_files
from ..io.bids import Sidecars
from ..io.confounds import confounds_file
from ..io.formats import parts_of
from ..paths import user_path
from ..plausibility import implausible_amplitudes
from ..prepare.quality import after, before
from ..prepare.steps import good_rows
from ..prepare.windows import Window, cut
from ..recording import Recording
from ..utils.checksum import crc32c
from ..utils.values import listed
from .discover import Found, fill, inside
from .events import split_segments, with_events
from .labels import Labels
from .recipe import Recipe
from .tables import read_patterns

logger = logging.getLogger(__name__)

#: Changes when the same recipe and file give other windows, so that old corpora are prepared again
VERSION = 2

#: Reason of a recording over which the process died, or is still at work
DIED = "not finished: the process was killed or ran out of memory while preparing it (or is still at it)"


class Job:
    """Prepares single recordings of one dataset. Calls do not depend on each other, and repeating one is harmless.

    Nothing outside `root` is read. `strict` refuses recordings that are cut off or of implausible amplitude.

    Raises LabelError: a label table is missing or lacks a column.
    """

    def __init__(self, recipe: Recipe, root: str | PathLike[str], strict: bool = False) -> None:
        self.recipe, self.root, self.strict = recipe, user_path(root), strict
        self.chain = recipe.chain()
        self.labels = Labels(recipe, root)

    def run(self, found: Found, writer: CorpusWriter, config: str | None = None) -> dict[str, Any]:
        """Prepare one recording; the result has the keys recording, config, reason (of a failure, else None) and notes.

        Every error but a full or forbidden disk becomes a failure record in the corpus. While the recording is at
        work its failure record says so: should the process die over it, that record is what is left. `config` is
        `self.config(found)`, where it is known already.
        """
        identity = self.identity(found.name)
        record: dict[str, Any] = {"recording": found.name, "config": config, "reason": None, "notes": []}
        writer.record_failure(identity, DIED)
        try:
            config = record["config"] = config or self.config(found)
            for row, recording, windows in self.parts(found, config):
                quality = {**recording.provenance["quality"], **after(recording, windows)}
                writer.add(row, recording.channels, windows, good_rows(recording), quality)
                record["notes"] += [note for note in recording.notes if note not in record["notes"]]
        except StorageError:
            raise
        except Exception as error:  # a broken file must not stop the others, whatever its reader raises
            expected = isinstance(error, BrainOFError)
            logger.info("%s failed", found.name, exc_info=not expected)
            reason = str(error) if expected else f"{type(error).__name__}: {error}"
            record["reason"] = " ".join(reason.split())[:500]
        finally:
            if record["reason"] is None:  # done, or interrupted through no fault of the file
                writer.forget_failure(identity)
            else:
                writer.record_failure(identity, record["reason"])
        return record

    def identity(self, name: str) -> dict[str, str]:
        """What failure records call a recording."""
        return {"recording": name, "dataset": self.recipe.name, "modality": self.recipe.modality}

    def parts(self, found: Found, config: str) -> Iterator[tuple[dict[str, Any], Recording, list[Window]]]:
        """Prepared recordings with their index row and windows: one, or one per part where the recipe splits files."""
        raw = self._read(found)
        for left in reversed(range(len(raw))):
            raw[0] = raw[0].replace(provenance={**raw[0].provenance, "quality": before(raw[0])})
            recording = self.chain.apply(raw.pop(0))  # not held here, so that the chain can free it
            part = recording.provenance.get("part")
            if recording.bads:
                recording = recording.noted(f"bad channels: {', '.join(recording.bads)}")
            row = {
                "dataset": self.recipe.name,
                "modality": self.recipe.modality,
                "recording": f"{found.name}#{part}" if part else found.name,
                # parts are committed in order and the last carries the plain hash: it is there only if all are
                "config": f"{config}-{left}" if left else config,
                "sfreq": recording.sfreq,
                **{name: recording.entities.get(name) for name in ("subject", "session", "task", "run")},
            }
            yield row, recording, self.windows(recording)

    def windows(self, recording: Recording) -> list[Window]:
        """The windows of all views of a prepared recording, with their labels."""
        labels, windows = self.labels.of(recording.entities), []
        for view, options in self.recipe.views().items():
            windows += cut(recording, options, labels, view=view, event_labels=self.labels.of_event)
        for number, window in enumerate(windows if self.labels.signals(recording.entities) else ()):
            seconds = window.data.shape[1] / recording.sfreq
            of_span = self.labels.of_span(recording.entities, window.onset, seconds)
            windows[number] = replace(window, labels={**window.labels, **of_span})
        if not windows:
            fix = f"its events are {listed(sorted(set(recording.events['trial_type'].astype(str)))) or 'none'}"
            problem = "gives no window (all touch bad stretches, or no event matches)"
            raise RecordingError(problem, file=recording.file, field="windows", fix=fix)
        return windows

    def config(self, found: Found) -> str:
        """Hash of everything that decides what the windows of a recording are: recipe, labels, and the files."""
        recipe = self.recipe.to_dict()
        if self.recipe.segments is None and self.recipe.patterns is None:
            labels: dict[str, Any] = dict(self.labels.of(found.entities))
        else:  # entities of the parts are not known yet: any change of a source counts
            labels = {name: source.to_dict() for name, source in self.recipe.labels.items()}
            tables = self.labels.files(found.entities)
            labels |= {f"{name} table": fingerprint(path) for name, path in tables.items()}
        values = {
            "version": VERSION,
            "recipe": {key: recipe.get(key) for key in ("name", "modality", "read", "segments", "events")}
            | ({"patterns": recipe["patterns"]} if recipe.get("patterns") else {}),
            "steps": self.chain.to_steps(),
            "views": {view: options.to_dict() for view, options in self.recipe.views().items()},
            "event_labels": {name: s.to_dict() for name, s in self.recipe.labels.items() if s.event or s.signal},
            "entities": found.entities,
            "labels": labels,
            "files": [fingerprint(path) for path in [found.path, *self._other_files(found)]],
        }
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:24]

    def _read(self, found: Found) -> list[Recording]:
        recipe = self.recipe
        inside(self.root, found.name)
        if recipe.patterns is not None:
            return read_patterns(found.path, recipe.patterns, found.entities)
        if "subject" not in found.entities:
            problem = "the recording has no subject, so it cannot be kept apart from others of the same person"
            fix = "name {subject} in the pattern or give entities: {subject: ...}"
            raise ConfigError(problem, file=found.name, field="files", fix=fix)
        recording = io.read(
            found.path, modality=recipe.modality, options=recipe.read, entities=found.entities, root=self.root
        )
        if self.strict and recording.provenance.get("truncated"):
            raise RecordingError("the file is cut off", file=found.path, fix="restore it, or leave out strict=")
        for odd in implausible_amplitudes(recording) if self.strict else ():  # the reader has noted it
            raise RecordingError(odd, file=found.path, field="unit", fix="give read.units in the recipe")
        if recipe.events is not None:
            recording = with_events(recording, recipe.events, self.root)
        return [recording] if recipe.segments is None else split_segments(recording, recipe.segments, self.root)

    def _other_files(self, found: Found) -> list[Path]:
        """Every other file that reading, cutting or labelling the recording opens."""
        recipe, read = self.recipe, self.recipe.read
        names = parts_of(found.path)
        if recipe.events is not None and recipe.events.file is not None:
            names.append(self.root / fill(recipe.events.file, found.entities, "events.file"))
        if recipe.segments is not None:
            names.append(self.root / fill(recipe.segments.file, found.entities, "segments.file"))
        if read.atlas is not None:
            names += atlas_files(read.atlas, self.root, found.path)
        if read.confounds is not None:
            with suppress(ReadError):
                table = confounds_file(read.confounds, found.path, self.root)
                names += [table, table.with_suffix(".json")]
        names += Sidecars.find(found.path, Path(self.root)).paths()
        names += self.labels.signals(found.entities).values()
        return [name for name in names if os.path.exists(name)]  # False, too, for a name that no disk takes


def fingerprint(path: Path) -> str:
    """Size and checksum of the two ends of a file, or sizes of a folder's files: cheap, and the same for a copy."""
    if path.is_dir():
        files = [entry for entry in path.rglob("*") if entry.is_file()]
        sizes = {entry.relative_to(path).as_posix(): entry.stat().st_size for entry in files}
        return hashlib.sha256(json.dumps(sizes, sort_keys=True).encode()).hexdigest()[:16]
    size, ends = path.stat().st_size, 65_536
    with path.open("rb") as file:
        head = file.read(ends)
        file.seek(max(0, size - ends))
        tail = file.read(ends)
    return f"{size}-{crc32c(head):08x}-{crc32c(tail):08x}"
