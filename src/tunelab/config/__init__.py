"""What the user asked for: an Axolotl YAML with line numbers -> typed, frozen sections; and the catalogue of its keys."""

from tunelab.config.config import Config, Reading, read_config
from tunelab.config.finding import Finding, Severity

__all__ = ["Config", "Finding", "Reading", "Severity", "read_config"]
