"""Small changes of meaning in a room, which the room's tests must notice.

`python -m benchmarks mutants [--per-room 40] [--room model]... [--seed 0] [--row TEXT]` draws places at random in each
room, makes one change at each (cosmic-ray makes them), runs the tests that reach the changed line and writes the page
of results; `--row` names a second row of a room.
What survives is listed with the reason that `mutants.yaml` gives for it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

import yaml

from .mutation.places import Mutant, Place, mutant, places_of
from .mutation.runner import Runner

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "brainof"
#: room -> (sources below src/brainof, tests)
ROOMS = {
    "model": (["model"], ["model"]),
    "pretraining": (["pretraining"], ["pretraining"]),
    "adaptation": (["adaptation"], ["adaptation"]),
    "evaluation": (["evaluation", "stats"], ["evaluation", "stats", "cli/test_adapt.py"]),
    "sampler": (["corpus/sampler.py"], ["corpus/test_sampler.py", "corpus/test_loader.py"]),
}
RESULTS, PAGE = ROOT / "docs" / "results" / "mutants.json", ROOT / "docs" / "results" / "mutants.md"
REASONS = Path(__file__).with_name("mutants.yaml")


def run(*arguments: str) -> Iterator[tuple[str, float, str]]:
    """Noticed mutants of each room, as a percentage."""
    parser = argparse.ArgumentParser(prog="./run bench mutants")
    parser.add_argument("--per-room", type=int, default=40)
    parser.add_argument("--room", action="append", choices=ROOMS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--row", help="a row of its own, beside that of the room: such as 'other places'")
    options = parser.parse_args(arguments)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for room in options.room or ROOMS:
        sources, tests = ROOMS[room]
        outcomes = {"noticed": 0, "out of time": 0}
        survivors = []
        with Runner(ROOT, [f"tests/{test}" for test in tests]) as runner:
            for each in sample(room, sources, options.per_room, options.seed):
                outcome = runner.outcome(each)
                if outcome == "survived":
                    file = str(each.path.relative_to(PACKAGE))
                    survivors.append({"file": file, "line": each.line, "change": each.change})
                    print(f"survived: {file}:{each.line}: {each.change}", flush=True)
                else:
                    outcomes[outcome] += 1
        row = f"{room}, {options.row}" if options.row else room
        results[row] = {"seed": options.seed, **outcomes, "survivors": survivors}
        noticed = sum(outcomes.values())
        yield room, 100 * noticed / (noticed + len(survivors)), "% noticed"
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(page(results))


def sample(room: str, sources: list[str], count: int, seed: int) -> list[Mutant]:
    """One mutant at each of `count` random places of a room."""
    rng = random.Random(f"{seed} {room}")
    places: dict[tuple, list[Place]] = {}
    for source in sources:
        path = PACKAGE / source
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            for place in places_of(file):
                places.setdefault((file, place.line, place.column, place.kind), []).append(place)
    order = rng.sample(sorted(places), len(places))
    mutants = (mutant(rng.choice(places[key])) for key in order)
    return list(itertools.islice((each for each in mutants if each is not None), count))


def page(results: dict[str, dict]) -> str:
    """The page of results: a row per room, a row per survivor."""
    reasons = yaml.safe_load(REASONS.read_text())
    lines = [
        "# Mutation testing",
        "",
        "A row of the first table is a room of the package: places drawn at random, one small change of meaning at",
        "each, made by [cosmic-ray](https://cosmic-ray.readthedocs.io). A mutant is noticed when a test of the room",
        "fails or runs out of time. This page is made from `docs/results/mutants.json`, which `./run bench mutants`",
        "adds to room by room; survivors were tried again after tests were added. Why it works as it does:",
        "[0066](../decisions/0066-mutants-in-forked-tests.md).",
        "",
        "| room | seed | mutants | noticed | of these out of time | survived |",
        "|---|---|---|---|---|---|",
    ]
    for room, found in results.items():
        late = found["out of time"]  # null: not told apart from those that a test noticed
        survived, noticed = len(found["survivors"]), found["noticed"] + (late or 0)
        share = f"{noticed} ({100 * noticed / (noticed + survived):.0f} %)"
        cells = [room, found["seed"], noticed + survived, share, "-" if late is None else late, survived]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", "| survivor | change | why no test notices it |", "|---|---|---|"]
    for found in results.values():
        for row in found["survivors"]:
            reason = reasons.get(f"{row['file']}: {row['change']}", "not explained yet")
            change = row["change"].replace("|", "\\|")
            lines.append(f"| {row['file']}:{row['line']} | `{change}` | {reason} |")
    return "\n".join(lines) + "\n"
