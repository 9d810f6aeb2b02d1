"""Models for a task: a network, its vocabulary and its training in one object."""

from lstmkit.tasks.language_model import LanguageModel

__all__ = ["LanguageModel"]
