"""The scene engine: from rasters of any size to blended rows, with memory that does not depend on the scene."""
