"""Who answers prompts: one protocol, and one file for each kind of runner. `runners.local` is the one that needs torch."""

from tunelab.runners.prompt import Answer, Prompt, Runner, Sampling
from tunelab.runners.scripted import ScriptedRunner

__all__ = ["Answer", "Prompt", "Runner", "Sampling", "ScriptedRunner"]
