"""The same prompts to two models: every answer kept, paired and graded; what differs, and whether fine-tuning helped."""

from tunelab.comparison.file import ComparisonFile, make_header, read_comparison
from tunelab.comparison.observations import Observation, observe
from tunelab.comparison.prompts import read_prompts
from tunelab.comparison.record import Comparison, Record
from tunelab.comparison.run import compare
from tunelab.comparison.sides import differences_between_sides
from tunelab.comparison.verdict import GroupVerdict, Verdict, judge

__all__ = ["Comparison", "ComparisonFile", "GroupVerdict", "Observation", "Record", "Verdict", "compare", "differences_between_sides",
           "judge", "make_header", "observe", "read_comparison", "read_prompts"]
