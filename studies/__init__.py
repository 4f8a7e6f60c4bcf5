"""Studies of the whole path on real and simulated recordings: `./run study NAME`; not part of the package."""
