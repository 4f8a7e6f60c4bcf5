from __future__ import annotations

import pytest

from brainof.errors import ConfigError
from brainof.schema import Schema


class Inner(Schema):
    length: float = 4.0


class Outer(Schema):
    name: str
    windows: Inner | None = None
    parts: list[Inner] = []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "a", "windos": {}}, "r.yaml: windos: unknown key; did you mean 'windows'?"),
        ({"name": "a", "windows": {"lenght": 1}}, "windows.lenght: unknown key; did you mean 'length'?"),
        ({"name": "a", "parts": [{"lenght": 1}]}, "parts.0.lenght: unknown key; did you mean 'length'?"),
        ({"windows": {}}, "name: is required"),
        ({"name": "a", "windows": {"length": "long"}}, "windows.length: .*got 'long'"),
    ],
)
def test_errors_name_file_key_and_nearest_key(values, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        Outer.parse(values, "r.yaml")


def test_assignments_reach_nested_keys_and_keep_types():
    changed = Outer(name="a").replaced(["windows.length=2.5", "name=b"])
    assert changed == Outer(name="b", windows=Inner(length=2.5))
    with pytest.raises(ConfigError, match="not an assignment"):
        changed.replaced(["windows"])
    with pytest.raises(ConfigError, match="single value"):
        changed.replaced(["name.x=1"])
    with pytest.raises(ConfigError, match=r"r\.yaml: windows\.length: is not valid YAML"):
        changed.replaced(["windows.length=["], file="r.yaml")


def test_yaml_round_trip_and_bad_files(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: a\nwindows: {length: 3}\n")
    loaded = Outer.load(path)
    assert Outer.parse(loaded.to_dict()) == loaded
    damaged = ("a: [", "a: " + "[" * 10_000, "a: 2020-13-45", "a: \0")
    for text, problem in (("- a\n", "holds no keys"), *((text, "is not valid YAML") for text in damaged)):
        path.write_text(text)
        with pytest.raises(ConfigError, match=rf"r\.yaml: {problem}"):
            Outer.load(path)
    with pytest.raises(ConfigError, match="file not found"):
        Outer.load(tmp_path / "missing.yaml")


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_numbers_are_finite_in_every_configuration(value):
    from brainof.io.options import ReadOptions
    from brainof.prepare.resampling import Resample
    from brainof.pretraining import PretrainConfig
    from brainof.simulate.parameters import CohortParameters

    fields = [(PretrainConfig, "lr"), (ReadOptions, "sfreq"), (CohortParameters, "seconds")]
    for schema, field in (*fields, (Resample, "sfreq")):
        with pytest.raises(ConfigError, match=f"^{field}: Input should be a"):
            schema.parse({field: value})
