"""Rasters and vectors: grids, reading onto a grid, writing results."""
