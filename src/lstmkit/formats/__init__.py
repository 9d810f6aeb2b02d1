"""Files of other libraries, one room a format: each reads, loads and saves."""
