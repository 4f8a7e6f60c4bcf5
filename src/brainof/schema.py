"""Checked configuration: every recipe and config of brainof is a frozen pydantic model read through this file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, Self

import pydantic
import yaml
from pydantic_core import PydanticCustomError

from .errors import ConfigError, did_you_mean
from .paths import user_path


class Schema(pydantic.BaseModel):
    """A frozen configuration object; unknown keys are refused and the nearest known key is suggested."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any], file: str | PathLike[str] | None = None) -> Self:
        """Build from a mapping; a ConfigError names `file`, the dotted key, the value, and the nearest known key."""
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            raise _config_error(cls, error, file) from None

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a YAML file."""
        return cls.parse(read_yaml(path), path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values (str, numbers, lists, dicts) that `parse` accepts again."""
        return self.model_dump(mode="json")

    @pydantic.model_serializer(mode="wrap")
    def _without_defaults_of_none(self, plain: Callable[[Self], dict[str, Any]]) -> dict[str, Any]:
        """A None is left out only where it is the default: `low: null` of a filter is a choice."""
        fields = type(self).model_fields
        return {
            name: value for name, value in plain(self).items() if value is not None or fields[name].default is not None
        }

    def replaced(self, assignments: list[str] | tuple[str, ...], file: str | None = None) -> Self:
        """A copy with `dotted.key=value` assignments applied; values are YAML."""
        values = self.to_dict()
        for assignment in assignments:
            key, sign, text = assignment.partition("=")
            if not sign:
                raise ConfigError(f"{assignment!r} is not an assignment", file=file, fix="write key=value")
            *parents, leaf = key.strip().split(".")
            target = values
            for parent in parents:
                target = target.setdefault(parent, {})
                if not isinstance(target, dict):
                    raise ConfigError(f"{parent!r} holds a single value, not a section", file=file, field=key)
            target[leaf] = load_yaml(text, file, key)
        return type(self).parse(values, file)


def wrong(message: str) -> PydanticCustomError:
    """What a validator raises: an error whose text is the message alone."""
    return PydanticCustomError("brainof", "{message}", {"message": message})


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml, where PyYAML has it
    """YAML with the booleans of version 1.2: yes, no, on and off stay the text that tables hold."""


_BOOL = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def load_yaml(text: str, file: str | PathLike[str] | None = None, field: str | None = None) -> Any:
    """Plain values of a YAML text; a ConfigError that names the file and field where it is none."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"is not valid YAML ({error})", file=file, field=field) from None


def read_yaml(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a YAML mapping; a missing, unreadable or non-mapping file is a ConfigError."""
    try:
        values = load_yaml(user_path(path).read_text(), path)
    except FileNotFoundError:
        raise ConfigError("file not found", file=path) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read ({error})", file=path) from None
    if not isinstance(values, dict):
        raise ConfigError("holds no keys", file=path, fix="write `key: value` lines")
    return values


def _config_error(cls: type[Schema], error: pydantic.ValidationError, file) -> ConfigError:
    # a misspelt key is said before the one that is missing for it
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        model: Any = cls
        for part in first["loc"][:-1]:
            field = getattr(model, "model_fields", {}).get(part)
            model = _model_in(model if field is None else field.annotation)
        known = getattr(model, "model_fields", {})  # as far as the annotations tell
        return ConfigError("unknown key", file=file, field=where, fix=did_you_mean(str(first["loc"][-1]), known))
    if first["type"] == "missing":
        return ConfigError("is required", file=file, field=where)
    got = "" if isinstance(first["input"], (dict, list)) else f" (got {first['input']!r:.80})"
    return ConfigError(f"{first['msg']}{got}", file=file, field=where or None)


def _model_in(annotation: Any) -> Any:
    """The first model that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    inner = map(_model_in, getattr(annotation, "__args__", ()))
    return next((model for model in inner if model is not None), None)
