"""Runs a function in several processes that find each other as torchrun's do, or the command in one.

A fork server imports once, so that a group of ranks starts in a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.ranks_imports"])


def command(*words: str) -> multiprocessing.process.BaseProcess:
    """`brainof` with these words in a process of its own."""
    child = CONTEXT.Process(target=_command, args=words, daemon=True)
    child.start()
    return child


def run(function: Callable[..., Any], size: int, *args: Any, wait: float = 60.0) -> list[Any]:
    """What `function(rank, *args)` returns in each rank; an error is returned as (type, text).

    The first rank has a minute to answer, others `wait` seconds from then.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes, children = [], []
    for rank in range(size):
        here, there = CONTEXT.Pipe(duplex=False)
        environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
        child = CONTEXT.Process(target=_child, args=(there, environment, function, rank, args), daemon=True)
        child.start()
        there.close()
        pipes.append(here)
        children.append(child)
    found = []
    for pipe, child in zip(pipes, children, strict=True):
        try:
            found.append(pipe.recv() if pipe.poll(wait if found else 60.0) else ("no answer", ""))
        except EOFError:
            child.join(5)
            found.append(("died", child.exitcode))
    for child, each in zip(children, found, strict=True):
        child.join(0 if each == ("no answer", "") else 5)
        child.kill()
    return found


def _command(*words: str) -> None:
    from brainof.cli import main

    sys.exit(main(words))


def _child(pipe: Any, environment: dict[str, Any], function: Callable[..., Any], rank: int, args: Any) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ.update({key: str(value) for key, value in environment.items()}, MASTER_ADDR="127.0.0.1")
    try:
        pipe.send(function(rank, *args))
    except BaseException as error:
        traceback.print_exc()
        pipe.send((type(error).__name__, str(error)))
