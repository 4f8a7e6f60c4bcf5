"""`brainof atlas`: the atlases that are known by name, and downloads of them on request."""

from __future__ import annotations

import argparse
from typing import Any

from . import columns, show

EXAMPLE = """examples:
  brainof atlas list
  brainof atlas fetch schaefer-100
  brainof info bold.nii.gz --atlas-name power-264"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list known atlases, and which of them are here")
    fetch = actions.add_parser("fetch", help="download an atlas through nilearn")
    fetch.add_argument("name", metavar="NAME", help="one of `brainof atlas list`")
    for action in (listing, fetch):
        action.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    from ..io.atlas import KNOWN, atlas_folder, fetch_atlas, is_here, open_atlas

    if args.action == "fetch":
        atlas = fetch_atlas(args.name)
        values: dict[str, Any] = {**atlas.provenance(), "terms": KNOWN[args.name].url}
        return show(args, values, [f"{atlas.name}: {len(atlas)} regions, sha256 {atlas.sha256}"])
    rows = []
    for name, entry in KNOWN.items():
        here = is_here(name)
        digest = entry.sha256 or (open_atlas(name).sha256 if here else None)
        where = "built in" if entry.file else "fetched" if here else "not here"
        rows.append({"name": name, "regions": entry.n_regions, "state": where, "sha256": digest, "title": entry.title})
    lines = columns([{**row, "sha256": str(row["sha256"] or "")[:12]} for row in rows])
    place = f"fetched atlases lie in {atlas_folder()} (set BRAINOF_ATLASES to change)"
    return show(args, {"folder": str(atlas_folder()), "atlases": rows}, [lines, place])
