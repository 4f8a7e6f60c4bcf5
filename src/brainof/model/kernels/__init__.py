"""Fast forms of parts of the model, each with its measured reason and a float64 test against the plain form."""
