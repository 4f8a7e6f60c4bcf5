"""Tools that know nothing of brains: memory, files, optional packages, progress, threads."""
