"""What a run suffers from, seen while it happens (`Doctor`) or afterwards from what it left on disk (`examine`). One file a family of ailments."""

from tunelab.runs.doctor.ailment import AILMENTS, Ailment, Diagnosis
from tunelab.runs.doctor.autopsy import Checkpoint, Examined, examine
from tunelab.runs.doctor.live import Doctor

__all__ = ["AILMENTS", "Ailment", "Checkpoint", "Diagnosis", "Doctor", "Examined", "examine"]
