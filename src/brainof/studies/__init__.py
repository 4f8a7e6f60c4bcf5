"""Studies: the whole path from recordings to one page, on simulated (`demo`) and on real (`real`) recordings."""
