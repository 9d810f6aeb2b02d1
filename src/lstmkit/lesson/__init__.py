"""The lesson: what somebody who writes an LSTM from scratch works with.

`check` takes the names of a notebook, a file or a notebook file, and names what is wrong.
"""

from lstmkit.lesson.checker import check
from lstmkit.lesson.report import Finding, Report

__all__ = ["Finding", "Report", "check"]
