"""The lesson: what somebody who writes an LSTM from scratch works with.

`check` takes the names of a notebook, a file or a notebook file, and names what is wrong.
"""

from lstmkit.lesson.checker import check
from lstmkit.lesson.report import Finding, Report
from lstmkit.lesson.runner import MEGABYTES, SECONDS

__all__ = ["MEGABYTES", "SECONDS", "Finding", "Report", "check"]
