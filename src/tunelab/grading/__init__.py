"""How an answer is judged: one grader per file, and facts that are measured of every answer."""

from tunelab.grading.grade import check_grader, grade, kinds
from tunelab.grading.result import Grade

__all__ = ["Grade", "check_grader", "grade", "kinds"]
