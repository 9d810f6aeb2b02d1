"""The lesson: exercises, and a laboratory that measures what they are about."""
