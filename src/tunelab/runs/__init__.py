"""A run on disk: its folder, manifest and append-only events. No torch here: reports read runs where nothing is trained."""
