"""How results look in a terminal: one file per kind of result."""
