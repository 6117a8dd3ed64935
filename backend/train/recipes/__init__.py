"""Recipes: complete configurations as Python functions, by the name the command line uses."""
