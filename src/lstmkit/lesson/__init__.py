"""The lesson: what somebody who writes an LSTM from scratch works with."""
