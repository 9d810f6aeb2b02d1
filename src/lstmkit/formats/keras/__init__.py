"""Keras's files: ``.keras``, ``.weights.h5`` and the older whole-model ``.h5``."""
