"""Measurements, run by `make bench`: whole programs against real parts, ratios in one run."""
