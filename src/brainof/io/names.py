"""Channel names: what kind of signal a name tells, and which electrodes it means."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from os import PathLike

import pandas as pd

from ..channels import SENSOR_TYPES
from ..errors import ReadError, did_you_mean, nearest
from .options import ReadOptions

# a word of a name, with an optional number or side, tells that the channel is not an EEG electrode
_KINDS = {
    # beside, below and above the eye: LO1, IO1, SO1
    "eog": r"[A-Z]*EOG[A-Z]*|[HV]EO[LRUD]?|EO[GH][HV]|LOC|ROC|[LIS]O(?=\d)|EYE[LRXY]?|BLINKS?",
    "ecg": r"E[CK]G[A-Z]*",
    "emg": r"EMG[A-Z]*|CHIN|LCHIN|RCHIN|LEG|LLEG|RLEG|TIB|LAT|RAT",
    "resp": r"RESP|RESPIRATION|THOR|THORAX|THORACIC|ABD|ABDO|ABDOMEN|ABDOMINAL|CHEST|FLOW|AIRFLOW|NASAL|CANNULA|SNORE"
    r"|SNORING|CPAP|PFLOW",
    "stim": r"STATUS|TRIG|TRIGGER|TRIGGERS|STI|STIM|STIMULUS|MARKER|MARKERS|EVENT|EVENTS|DIN",
    "misc": r"SPO2|SAO2|OSAT|PULSE|PLETH|PLETHYSMOGRAM|PPG|HR|GSR|EDA|SCL|TEMP|TEMPERATURE|ACC|ACC[XYZ]|[XYZ]ACC|GYRO"
    r"|GYRO[XYZ]|PHOTIC|IBI|BURSTS?|SUPPR|DC|POS|POSITION|LIGHT|AUX|ANNOTATIONS|COUNTER|BATTERY|LUX|PR|ETCO2|CO2|PH"
    r"|EXG|PLET|ERG|[LR]?PUPIL|GAZE[XY]?|PHOTO|PHOTODIODE|PHOTOSENSOR|AUDIO|MIC|STIMTRAK",
}
_WORDS = {kind: re.compile(rf"(?:{words})\d*", re.IGNORECASE) for kind, words in _KINDS.items()}

# eyes of a polysomnography (AASM): E1 and E2 against a mastoid; caps with E1 to E257 have no mastoid in the name
_SLEEP_EYE = re.compile(r"(?:EEG[\s_:-]+)?E[12]\s*[-:/]\s*[MA][12]", re.IGNORECASE)

#: references that are no single electrode of the cap: whatever stands before them sits where it says, also A1-REF
_WORDS_FOR_REFERENCES = frozenset(
    ("REF", "LE", "AR", "AVG", "AV", "CAR", "LER", "LINKED", "EAR", "EARS", "MASTOIDS", "NOSE", "GND")
)
#: what serves as reference, with ears and mastoids; "X-A1" sits at X, unless X is an ear as well
REFERENCES = _WORDS_FOR_REFERENCES | frozenset(
    ("A1", "A2", "M1", "M2", "A1A2", "A1+A2", "A1/A2", "A12", "M1M2", "M1+M2", "M1/M2")
)

Electrodes = tuple[str] | tuple[str, str]


def kind_of_name(name: str) -> str | None:
    """The auxiliary type that a word of the name tells ("eog", "ecg", ...), or None for a possible electrode."""
    if _SLEEP_EYE.fullmatch(name.strip()):
        return "eog"
    for word in re.split(r"[^A-Za-z0-9]+", name):
        for kind, pattern in _WORDS.items():
            if pattern.fullmatch(word):
                return kind
    return None


def electrodes_of(name: str) -> Electrodes:
    """The electrode, or the two electrodes of a bipolar lead, that a channel name means.

    Prefixes (`EEG Fp1`), trailing dots (`Fc5.`) and references (`EEG FP1-REF`, `C3-A2`, `C3:M1`) are taken off.
    """
    text = re.sub(r"^\s*(?:EEG|SEEG|POL)[\s_:-]+", "", name, flags=re.IGNORECASE).strip().strip(".").strip()
    first, sign, second = re.match(r"([^-–:]*)([-–:]?)(.*)", text).groups()  # type: ignore[union-attr]
    first, second = first.strip(" ."), second.strip(" .")
    if not sign or not second or not first:
        return (first or second or text,)
    reference = second.upper().replace(" ", "")
    if reference in _WORDS_FOR_REFERENCES or (reference in REFERENCES and first.upper() not in REFERENCES):
        return (first,)
    return first, second


def without_common_reference(leads: Sequence[Electrodes]) -> list[Electrodes]:
    """Bipolar-looking names that all share their second electrode are referential: X-Cz sits at X."""
    seconds = Counter(lead[1].upper() for lead in leads if len(lead) == 2)
    if len(seconds) == 1 and next(iter(seconds.values())) >= 4:
        return [(lead[0],) for lead in leads]
    return list(leads)


def is_lettered_cap(names: Sequence[str]) -> bool:
    """True for caps named A1..A32, B1.. (BioSemi), where `A1` is the vertex and not the left ear."""
    return any(re.fullmatch(r"A(?:[3-9]|[12]\d|3[0-2])|B\d{1,2}", name.strip()) for name in names)


def unique(names: Sequence[str]) -> list[str]:
    """Repeated names with -0, -1, ... added in order (as MNE does)."""
    series = pd.Series(names, dtype=object)
    number = series.groupby(series).cumcount().astype(str)
    return series.where(~series.duplicated(keep=False), series + "-" + number).tolist()


def renamed(names: Sequence[str], options: ReadOptions, file: str | PathLike[str] | None) -> list[str]:
    """The names after `channel_names` and `rename`, still unique."""
    out = [name.strip() for name in names]
    if options.channel_names is not None:
        if len(options.channel_names) != len(out):
            problem = f"{len(options.channel_names)} names for {len(out)} channels"
            raise ReadError(problem, file=file, field="channel_names")
        out = list(options.channel_names)
    for pattern, replacement in options.rename.items():
        try:
            out = [re.sub(pattern, replacement, name) for name in out]
        except re.error as error:
            raise ReadError(f"{pattern!r}: {error}", file=file, field="rename") from None
    twice = [name for name, count in Counter(out).items() if count > 1]
    if twice:
        fix = "give channel_names= or another rename"
        raise ReadError(f"two channels are called {twice[0]!r}", file=file, field="channels", fix=fix)
    return out


def chosen_type(name: str, options: ReadOptions) -> str | None:
    """The type that `channel_types` gives a name, if any."""
    return next((kind for pattern, kind in options.channel_types.items() if fnmatchcase(name, pattern)), None)


def drops_of_nothing(names: Sequence[str], options: ReadOptions, types: Sequence[str] | None = None) -> list[str]:
    """Notes on words of `drop` that mean none of all channels of a file; types may not be known yet."""
    known, idle = {*names, *(types or ())}, []
    for word in options.drop:
        of_type = word in (SENSOR_TYPES if types is None else types)
        if not of_type and not any(fnmatchcase(name, word) for name in names):
            close = nearest(word, known)
            idle.append(f"no channel {word!r} to drop" + (f"; did you mean {close!r}?" if close else ""))
    return idle


def kept(
    names: Sequence[str], options: ReadOptions, file: str | PathLike[str] | None, types: Sequence[str] | None = None
) -> list[int]:
    """Indices of the names that `drop` and `pick` leave, in order; ReadError for an unknown pick or if none is left.

    Where `types` (of sensors) are not known yet, a type drops nothing and picks everything.
    """

    def meant(i: int, word: str, unknown: bool) -> bool:
        of_type = word in SENSOR_TYPES and (unknown if types is None else types[i] == word)
        return of_type or fnmatchcase(names[i], word)

    left = [i for i in range(len(names)) if not any(meant(i, word, False) for word in options.drop)]
    for word in options.pick:
        if not any(meant(i, word, True) for i in left):
            fix = did_you_mean(word, {*names, *(types or ())}) if names else ""
            raise ReadError(f"no channel {word!r}", file=file, field="pick", fix=fix)
    if options.pick:
        left = [i for i in left if any(meant(i, word, True) for word in options.pick)]
    if not left:
        raise ReadError("no channel is left", file=file, field="drop", fix="drop fewer channels")
    return left
