"""Schedules, parameter groups and the optimiser."""
