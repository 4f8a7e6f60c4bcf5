"""What time a sample has: in every format an annotation, the sample under it and the window cut there are the same."""

from __future__ import annotations

import datetime

import edfio
import eeglabio
import mne
import nibabel
import numpy as np
import pandas as pd
import pybv
import pytest
import scipy.io

from brainof.io import ReadOptions, from_mne, read
from brainof.io.events import BOUNDARY
from brainof.prepare import cut
from brainof.prepare.windows import WindowOptions

NAMES, SFREQ, SECONDS = ["Fp1", "C3", "O2"], 128, 20
#: seconds among the samples that are there; a pause lies before the sample at 10 s where the format can say so
PULSES, PAUSE = (1.5, 3.25, 12.5, 17.0), 10.0


def signal() -> np.ndarray:
    """Microvolts: noise, with 500 uV in the one sample of each pulse."""
    data = np.random.default_rng(0).normal(0, 20, (3, SFREQ * SECONDS))
    data[:, [round(pulse * SFREQ) for pulse in PULSES]] = 500
    return data


def raw(dated: bool) -> mne.io.BaseRaw:
    info = mne.create_info(NAMES, SFREQ, "eeg")
    padded = np.concatenate([np.zeros((3, 4 * SFREQ)), signal(), np.zeros((3, SFREQ))], axis=1) * 1e-6
    whole = mne.io.RawArray(padded, info, verbose="error")
    if dated:
        whole.set_meas_date(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    whole.set_annotations(mne.Annotations(np.add(PULSES, 4), 0, "pulse"))
    return whole.crop(4, 4 + SECONDS - 1 / SFREQ)


def fif(folder, vendor, dated):
    raw(dated).save(folder / "a_raw.fif", verbose="error")
    return read(folder / "a_raw.fif")


def edf(folder, vendor, starts, kind="EDF+C", first=0.0):
    clock = [starts[int(pulse)] + pulse % 1 for pulse in PULSES]
    texts = [(onset, b"pulse") for onset in clock]
    return read(vendor.write_edf_plus(folder / "a.edf", signal(), SFREQ, texts, starts, kind))


def brainvision(folder, vendor):
    events = [{"onset": round(p * SFREQ), "type": "Comment", "description": "pulse"} for p in PULSES]
    pybv.write_brainvision(
        data=signal() * 1e-6, sfreq=SFREQ, ch_names=NAMES, fname_base="a", folder_out=folder, events=events
    )
    with (folder / "a.vmrk").open("a") as file:
        file.write(f"Mk9=New Segment,,{round(PAUSE * SFREQ) + 1},1,0,20200101010010000000\n")
    recording = read(folder / "a.vhdr")
    return recording.replace(events=recording.events.replace({"trial_type": {"Comment/pulse": "pulse"}}))


def eeglab(folder, vendor):
    events = np.zeros(5, dtype=[("type", object), ("latency", object), ("duration", object)])
    events["type"] = ["pulse", "pulse", "boundary", "pulse", "pulse"]
    samples = [pulse * SFREQ + 1 for pulse in PULSES]
    events["latency"] = [*samples[:2], PAUSE * SFREQ + 0.5, *samples[2:]]
    events["duration"] = [0.0, 0.0, 4.5e5, 0.0, 0.0]
    eeglabio.raw.export_set(str(folder / "a.set"), signal() * 1e-6, SFREQ, NAMES)
    content = scipy.io.loadmat(folder / "a.set", struct_as_record=True)
    content = {key: value for key, value in content.items() if not key.startswith("__")}
    scipy.io.savemat(folder / "a.set", {**content, "event": events}, appendmat=False)
    return read(folder / "a.set")


MAKERS = {
    "FIF, dated, cropped": (lambda f, v: fif(f, v, True), False),
    "FIF, undated, cropped": (lambda f, v: fif(f, v, False), False),
    "Raw, dated, cropped": (lambda f, v: from_mne(raw(True)), False),
    "Raw, undated, cropped": (lambda f, v: from_mne(raw(False)), False),
    "EDF+C": (lambda f, v: edf(f, v, range(SECONDS)), False),
    "EDF+C, starts within a second": (lambda f, v: edf(f, v, [0.5 + i for i in range(SECONDS)]), False),
    "EDF+D without a pause": (lambda f, v: edf(f, v, range(SECONDS), "EDF+D"), False),
    "EDF+D": (lambda f, v: edf(f, v, [*range(10), *range(15, 25)], "EDF+D"), True),
    "EDF+D, an hour": (lambda f, v: edf(f, v, [*range(10), *range(3610, 3620)], "EDF+D"), True),
    "BrainVision": (brainvision, True),
    "EEGLAB": (eeglab, True),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_annotation_sample_and_window_agree(kind, tmp_path, vendor):
    make, paused = MAKERS[kind]
    recording = make(tmp_path, vendor)
    pulses = recording.events[recording.events.trial_type == "pulse"]
    np.testing.assert_allclose(pulses.onset, PULSES, atol=1e-6)
    samples = np.round(pulses.onset.to_numpy() * SFREQ).astype(int)
    np.testing.assert_allclose(recording.data[:, samples], 5e-4, atol=2e-7)
    for window in cut(recording, WindowOptions(events=["pulse"], tmin=0, tmax=0.5)):
        np.testing.assert_allclose(window.data[:, 0], 5e-4, atol=2e-7)
    pauses = recording.events[recording.events.trial_type == BOUNDARY]
    assert pauses.onset.tolist() == ([PAUSE] if paused else [])
    windows = cut(recording, WindowOptions(length=4.0))
    assert [window.onset for window in windows] == ([0, 4, 12, 16] if paused else [0, 4, 8, 12, 16])
    # a window may end and another begin at the pause itself
    assert len(cut(recording, WindowOptions(length=5.0))) == 4


def test_a_pause_stays_when_a_table_replaces_the_events(tmp_path, vendor):
    edf(tmp_path, vendor, [*range(10), *range(15, 25)], "EDF+D")
    (tmp_path / "a.edf").rename(tmp_path / "sub-1_eeg.edf")
    (tmp_path / "sub-1_events.tsv").write_text("onset\tduration\ttrial_type\n2\t0\tgo\n")
    assert read(tmp_path / "sub-1_eeg.edf").events.trial_type.tolist() == ["go", BOUNDARY]


def test_an_annotation_over_a_pause_loses_what_is_not_there(tmp_path, vendor):
    starts = [*range(10), *range(15, 25)]
    path = vendor.write_edf_plus(tmp_path / "a.edf", signal(), SFREQ, [(9.5, b"over", 7)], starts, "EDF+D")
    over = read(path).events.query("trial_type == 'over'")
    assert over[["onset", "duration"]].to_numpy().tolist() == [[9.5, 2.0]]


def test_records_out_of_order_are_said(tmp_path, vendor):
    recording = edf(tmp_path, vendor, [*range(10), *range(10)], "EDF+D")
    assert any("not in order" in note for note in recording.notes)


@pytest.mark.parametrize(("text", "seen"), [("réveil".encode("latin-1"), "réveil"), ("réveil".encode(), "réveil")])
def test_annotations_in_old_encodings_do_not_cost_the_signal(tmp_path, vendor, text, seen):
    path = vendor.write_edf_plus(tmp_path / "a.edf", signal(), SFREQ, [(1.5, text), (2.5, b"ok")])
    recording = read(path)
    assert recording.events.trial_type.tolist() == [seen, "ok"]
    assert recording.events.onset.tolist() == [1.5, 2.5]
    assert any("Latin-1" in note for note in recording.notes) == (text != seen.encode())


def vendor_file(kind, folder, vendor, data, event):
    """A file of 100 Hz with one event at a sample."""
    names, places = ["Fp1", "C3", "O2"], np.array([[-30.0, 80, 40], [-50, 0, 90], [-20, -80, 50]])
    match kind:
        case "gdf1" | "gdf2":
            return vendor.write_gdf(
                folder / "a.gdf", data, names, 100, {"gdf1": "1.25", "gdf2": "2.20"}[kind], event=event
            )
        case "cnt":
            return vendor.write_cnt(folder / "a.cnt", data, names, 100, event=event)
        case "egi":
            return vendor.write_egi(folder / "a.raw", data, 100, event=event)
        case "mff":
            return vendor.write_mff(folder / "a.mff", data, 100, event=event)
        case "curry":
            return vendor.write_curry(folder / "a.cdt", data, names, 100, places, event=event)
        case "edf" | "bdf":
            signal = {"edf": edfio.EdfSignal, "bdf": edfio.BdfSignal}[kind]
            rows = [
                signal(row, 100, label=name, physical_dimension="uV", physical_range=(-600, 600))
                for row, name in zip(data, names, strict=True)
            ]
            file = {"edf": edfio.Edf, "bdf": edfio.Bdf}[kind](
                rows, annotations=[edfio.EdfAnnotation(event / 100, None, "x")]
            )
            file.write(folder / f"a.{kind}")
        case "fif":
            raw = mne.io.RawArray(data * 1e-6, mne.create_info(names, 100, "eeg"), first_samp=12345, verbose="error")
            raw.set_annotations(mne.Annotations(event / 100, 0, "x"))  # from the first sample, without a date
            raw.save(folder / "a_raw.fif", verbose="error")
            return folder / "a_raw.fif"
        case "bids":
            vendor.write_edf_plus(folder / "sub-1_eeg.edf", data, 100)
            (folder / "sub-1_events.tsv").write_text(f"onset\ttrial_type\n{event / 100}\tx\n")
            return folder / "sub-1_eeg.edf"
        case "csv":
            marker = np.zeros(data.shape[1])
            marker[event] = 1
            table = {"time": 5 + np.arange(data.shape[1]) / 100, **dict(zip(names, data, strict=True)), "m": marker}
            pd.DataFrame(table).to_csv(folder / "a.csv", index=False)
    return folder / f"a.{kind}"


VENDORS = ["gdf1", "gdf2", "cnt", "egi", "mff", "curry", "edf", "bdf", "fif", "bids", "csv"]


@pytest.mark.parametrize("event", [1, 123, 499])
@pytest.mark.parametrize("kind", VENDORS)
def test_annotation_sample_and_window_agree_in_every_format(kind, event, tmp_path, vendor):
    data = np.random.default_rng(0).normal(0, 20, (3, 600))
    data[:, event] = 500
    options = ReadOptions(events_variable="m", units="uV") if kind == "csv" else None
    recording = read(vendor_file(kind, tmp_path, vendor, data, event), options=options)
    assert recording.events.onset.tolist() == [pytest.approx(event / 100, abs=1e-5)]  # FIF keeps times in 32 bits
    np.testing.assert_allclose(recording.data[:, event], 5e-4, atol=1e-6)
    (window,) = cut(recording, WindowOptions(events=[recording.events.trial_type[0]], tmin=0, tmax=0.5))
    np.testing.assert_allclose(window.data[:, 0], 5e-4, atol=1e-6)
    assert np.abs(window.data[:, 1:]).max() < 2e-4


@pytest.mark.parametrize("unit", ["sec", "msec", "usec"])
def test_event_volume_and_window_agree_in_nifti(unit, tmp_path):
    """A pulse of all voxels at one volume, its event in seconds, the repetition time in the unit of the header."""
    data = np.random.default_rng(0).normal(100, 1, (4, 4, 4, 40)).astype(np.float32)
    data[..., 7] = 500
    image = nibabel.Nifti1Image(data, np.eye(4) * 3)
    image.header.set_xyzt_units("mm", unit)
    image.header["pixdim"][4] = 2.0 * {"sec": 1, "msec": 1e3, "usec": 1e6}[unit]
    nibabel.save(image, tmp_path / "sub-1_task-x_bold.nii.gz")
    (tmp_path / "sub-1_task-x_events.tsv").write_text("onset\tduration\ttrial_type\n14.0\t2\tpulse\n")
    recording = read(tmp_path / "sub-1_task-x_bold.nii.gz", atlas={"grid_mm": 6.0})
    assert recording.t_r == pytest.approx(2.0)
    assert recording.events.onset.tolist() == [14.0]
    assert (recording.data[:, 7] > 400).all()
    (window,) = cut(recording, WindowOptions(events=["pulse"], tmin=0, tmax=8))
    assert (window.data[:, 0] > 400).all()
    assert (window.data[:, 1:] < 200).all()
