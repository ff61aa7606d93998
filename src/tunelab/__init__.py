"""tunelab: from one YAML to a verdict. Read a fine-tuning config, run it, and see what it changed."""

__version__ = "0.4.0"
