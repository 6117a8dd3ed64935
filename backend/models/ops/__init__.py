"""Operators on boxes that torch itself lacks, in plain torch."""
