"""The header of a NIfTI image, checked before its data are read: shape, size, repetition time."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ReadError
from .checks import check_size, damage_named
from .options import ReadOptions, ReadRequest

#: seconds; no image of a brain takes less or more
MIN_TR, MAX_TR = 0.05, 20.0
#: code of the time unit in `xyzt_units` (nifti1.h) -> seconds; 0 is unknown and means seconds
TIME_UNITS = {0: 1.0, 8: 1.0, 16: 1e-3, 24: 1e-6}
#: deflate cannot do better than this, so a smaller .gz cannot hold what the header announces
_MAX_DEFLATE = 1040

_DAMAGED = "the file is cut or its header is damaged"


def load_image(path: Path) -> Any:
    """An image of nibabel without its data; ReadError where it is empty, damaged or of no format of nibabel."""
    import nibabel

    if not path.is_file():
        raise ReadError("is not a file", file=path, fix="give a file, not a folder or a pipe")
    if path.stat().st_size == 0:
        raise ReadError("is empty (0 bytes)", file=path, fix="copy the file again")
    _check_extensions(path)
    with damage_named(path, fix="the file is damaged or not a NIfTI"):
        return nibabel.load(path)


def voxels(image: Any, path: Path, dtype: type | None = None, field: str | None = None) -> np.ndarray:
    """All values of an image, those of a .nii.gz up to the checksum at its end; ReadError where the file is cut."""
    import nibabel

    on_disk = nibabel.is_proxy(image.dataobj) and path.is_file()
    if on_disk:
        check_file_size(image, path)
    with damage_named(path, "data cannot be read", field, "the file is cut or damaged; copy it again"):
        if not (on_disk and path.name.lower().endswith(".gz")):
            return np.asanyarray(image.dataobj, dtype=dtype)
        # nibabel stops at the last voxel; gzip compares its checksum only where the stream is read to the end
        with gzip.open(path) as stream:
            values = np.asanyarray(type(image).from_stream(stream).dataobj, dtype=dtype)
            while stream.read(1 << 20):
                pass
        return values


def _check_extensions(path: Path) -> None:
    """Header extensions (the axes of CIFTI) must not announce more than the file holds; nibabel takes memory first."""
    name, size = path.name.lower(), path.stat().st_size
    if not name.endswith((".nii", ".nii.gz")):
        return
    packed = name.endswith(".gz")
    most = size * (_MAX_DEFLATE if packed else 1)
    opened: Any = gzip.open if packed else open
    # of what is no header at all nibabel says more
    with suppress(OSError, EOFError, zlib.error, struct.error), opened(path, "rb") as stream:
        head = stream.read(544)
        order = next((o for o in "<>" if struct.unpack_from(o + "i", head)[0] in (348, 540)), None)
        if order is None:
            return
        version_2 = struct.unpack_from(order + "i", head)[0] == 540
        start = 544 if version_2 else 352
        offset = struct.unpack_from(order + ("q" if version_2 else "f"), head, 168 if version_2 else 108)[0]
        place, end = start, min(offset, most) if offset > 0 else most
        while head[start - 4 : start - 3] > b"\0" and place + 16 <= end:
            stream.seek(place)
            length = struct.unpack(order + "i", stream.read(4))[0]
            if length < 8 or place + length > most:
                problem = f"a header extension announces {length} bytes, the file has {size}"
                raise ReadError(problem, file=path, field="extension", fix=_DAMAGED)
            place += length


def check_shape(image: Any, path: Path, options: ReadOptions) -> None:
    """Refuse what is no 4-D volume image, or larger than `max_bytes` once decoded."""
    import nibabel

    shape = "x".join(map(str, image.shape))
    if not isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti2Image)):
        problem = f"{type(image).__name__} is not a volume image"
        raise ReadError(problem, file=path, field="format", fix="give a 4-D NIfTI")
    if len(image.shape) != 4:
        raise ReadError(f"shape {shape} is {len(image.shape)}-D, not 4-D", file=path, field="shape")
    if min(image.shape) < 1:
        raise ReadError(f"empty recording: shape {shape}", file=path, field="shape")
    check_size(4 * math.prod(image.shape), options.max_bytes, path)  # decoded to float32


def check_file_size(image: Any, path: Path) -> None:
    """Refuse a header that announces more than the file can hold."""
    stored, size = math.prod(image.shape) * image.get_data_dtype().itemsize, path.stat().st_size
    if stored > (size * _MAX_DEFLATE if path.name.lower().endswith(".gz") else size - int(image.dataobj.offset)):
        shape = "x".join(map(str, image.shape))
        problem = f"shape {shape} needs {stored / 1e6:.4g} MB, the file has {size / 1e6:.3g} MB"
        raise ReadError(problem, file=path, field="shape", fix=_DAMAGED)


def checked_tr(from_header: float, field: str, request: ReadRequest) -> tuple[float, list[str]]:
    """TR in seconds by options, JSON sidecar or file (0: it has none), and notes; ReadError beyond 0.05 to 20 s."""
    if request.options.rate is not None:
        return 1 / request.options.rate, []
    t_r, file = from_header, request.path
    from_sidecar = request.sidecars.number("RepetitionTime")
    if from_sidecar is not None:
        t_r, field, file = from_sidecar, "RepetitionTime", Path(request.sidecars.metadata["RepetitionTime"][1])
    problem, fix = f"TR {t_r:g} s", "give t_r= in seconds"
    if not np.isfinite(t_r) or t_r <= 0:
        raise ReadError(problem, file=file, field=field, fix=fix)
    if not MIN_TR <= t_r <= MAX_TR:
        meant = t_r / 1000 if t_r > MAX_TR else t_r * 1000
        if 0.1 <= meant <= MAX_TR:
            problem += " looks like " + ("milliseconds" if t_r > MAX_TR else "seconds marked as milliseconds")
            raise ReadError(problem, file=file, field=field, fix=f"give t_r={meant:g}")
        raise ReadError(problem + (" is too short" if t_r < MIN_TR else ""), file=file, field=field, fix=fix)
    if from_sidecar is not None and from_header > 0 and abs(from_header - t_r) > 1e-3:
        return t_r, [f"TR is {t_r:g} s in {file.name} and {from_header:g} s in the header: the former was taken"]
    return t_r, []
