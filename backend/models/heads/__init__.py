"""Heads: from an encoder's features to what a task wants."""
