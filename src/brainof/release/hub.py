"""The Hugging Face Hub: what to download, what to push, and its failures in one sentence each.

huggingface_hub does the transfers and keeps the cache. Nothing here runs unless a Hub id was asked for.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ConfigError, StorageError
from ..paths import user_path
from ..utils.optional import optional
from .folder import INDEX, TEXTS, read_config, read_contract, refuse_pickles, release_in, verify, weight_files

log = logging.getLogger(__name__)

#: Before a Hub id, says that the Hub is meant
SCHEME = "hf://"

#: Weights are fetched when the texts have been looked at; pickles never are
_WEIGHTS = ["model.safetensors", "model-*-of-*.safetensors"]

_TRANSPORTS = ("httpx", "httpx2", "requests", "urllib3")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def hub_id(model: str | PathLike[str]) -> str | None:
    """The Hub id that a string means, or None where it means a path.

    `organisation/name` is an id unless a folder `organisation` exists, in which a name was mistyped; with `hf://`
    before it, it always is. A Path never is.
    """
    if not isinstance(model, str):
        return None
    if model.startswith(SCHEME):
        name = model.removeprefix(SCHEME).strip("/")
        return name if _HUB_ID.fullmatch(name) else None
    return model if _HUB_ID.fullmatch(model) and not Path(model).parent.exists() else None


def fetch(repo_id: str, revision: str | None = None, offline: bool = False) -> Path:
    """Folder of a model of the Hub in the local cache, downloaded where it is not there yet.

    Configuration and contract come first and are checked; weights follow from the same commit.

    Raises CheckpointError: no such model or revision, not in the cache while offline, pickles only, another layout, a
    broken download.
    """
    hub = _import()
    download = partial(hub.snapshot_download, repo_id, local_files_only=offline)
    with _one_sentence(repo_id, revision):
        folder = Path(download(revision=revision, allow_patterns=list(TEXTS)))
        try:
            if not (folder / "config.json").is_file():
                raise CheckpointError("holds no brainof release (no config.json)", file=repo_id)
            read_config(folder)
            read_contract(folder)
        except CheckpointError:
            if not offline and not hub.constants.HF_HUB_OFFLINE:
                refuse_pickles(repo_id, hub.HfApi().list_repo_files(repo_id, revision=folder.name))
            raise
        # the folder is named by its commit, so that the weights cannot come from a later one
        download(revision=folder.name, allow_patterns=_WEIGHTS)
    log.info("%s at commit %s", repo_id, folder.name)
    return folder


def push_to_hub(
    folder: str | PathLike[str],
    repo_id: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    create_pr: bool = False,
) -> str:
    """Upload a release to the Hugging Face Hub in one commit: a reader sees the old model or the new one.

    Parameters
    ----------
    folder : path
        A run folder (its `release/` is pushed) or a release folder, such as `save_pretrained` writes. Its weights are
        verified first; only what belongs to a release is sent.
    repo_id : str
        `organisation/name`; made where it does not exist.
    revision : str, optional
        Branch to commit to, made where it does not exist; the default branch without it.
    private : bool, optional
        Of a model that is made; by default as the organisation has it.
    create_pr : bool
        Propose the change instead of making it.

    Returns
    -------
    str
        URL of the commit.

    Raises
    ------
    CheckpointError
        The folder holds no intact release, or the Hub refused.
    ConfigError
        The id is not of the form organisation/name, or HF_HUB_OFFLINE is set.
    DependencyError
        huggingface_hub is not installed.
    """
    name = repo_id.removeprefix(SCHEME)
    if not _HUB_ID.fullmatch(name):
        raise ConfigError(f"{repo_id!r}", field="repo_id", fix="write organisation/name")
    release = release_in(user_path(folder, CheckpointError))
    config, _ = read_config(release), read_contract(release)
    weights = weight_files(release)
    verify(release, weights, config.get("files", {}))
    hub = _import()
    if hub.constants.HF_HUB_OFFLINE:
        raise ConfigError("HF_HUB_OFFLINE is set, so nothing can be pushed", field="repo_id", fix="unset it")
    api = hub.HfApi()
    with _one_sentence(name, revision):
        api.create_repo(name, private=private, exist_ok=True)
        if revision is not None and not create_pr:
            api.create_branch(name, branch=revision, exist_ok=True)
        there = api.list_repo_files(name, revision=revision)
        commit = api.upload_folder(
            repo_id=name,
            folder_path=release,
            allow_patterns=[*TEXTS, *weights],
            # those of an earlier release, unless they are sent anew
            delete_patterns=[file for file in there if "/" not in file and file.endswith((".safetensors", INDEX))],
            commit_message="Upload brainof release",
            revision=revision,
            create_pr=create_pr,
        )
    return str(commit.pr_url or commit.commit_url)


def _import() -> Any:
    hub = optional("huggingface_hub", "hub", "a model of the Hugging Face Hub")
    for module in ("constants", "errors"):
        optional(f"huggingface_hub.{module}", "hub", "a model of the Hugging Face Hub")
    return hub


@contextmanager
def _one_sentence(repo_id: str, revision: str | None) -> Iterator[None]:
    """What goes wrong on the way as a CheckpointError (the disk: StorageError) that says what to do."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise CheckpointError("asks for consent first", file=repo_id, fix="accept its terms on the Hub") from None
    except errors.RepositoryNotFoundError:
        fix = "check the id; for a private one log in with `hf auth login`"
        raise CheckpointError("no such model on the Hub", file=repo_id, fix=fix) from None
    except errors.RevisionNotFoundError:
        raise CheckpointError(f"no such revision {revision!r}", file=repo_id, field="revision") from None
    except errors.LocalEntryNotFoundError as error:
        offline = isinstance(error.__cause__, (errors.OfflineModeIsEnabled, type(None)))
        why = "is not (wholly) in the local cache, and offline" if offline else "could not be reached"
        text = f"is no folder here, and as a model of the Hub it {why}"
        raise CheckpointError(text, file=repo_id, fix="check the path, or load it once with a network") from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "?")
        log_in = "log in with `hf auth login`, or give a token that may write"
        fix = log_in if status in (401, 403) else "try again later"
        raise CheckpointError(f"the Hub refused (HTTP {status})", file=repo_id, fix=fix) from None
    except OSError as error:
        if error.errno is not None:
            raise StorageError(f"cannot be stored ({error.strerror})", file=error.filename or repo_id) from None
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"the transfer broke off ({reason})", file=repo_id, fix="try again") from None
    except ValueError as error:  # also HFValidationError
        raise CheckpointError(f"the Hub refused ({' '.join(str(error).split())[:200]})", file=repo_id) from None
    except Exception as error:
        # what the transport raises depends on the version of huggingface_hub (requests, httpx, httpx2)
        if type(error).__module__.partition(".")[0] not in _TRANSPORTS:
            raise
        raise CheckpointError(f"the transfer broke off ({error})", file=repo_id, fix="try again") from None
