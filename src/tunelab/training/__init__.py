"""The only room (with runners/local.py) that imports torch. `run.py` is the page to read."""
