"""One reader per field of a model sheet: each takes a `ModelRecord` and gives candidates with evidence."""
