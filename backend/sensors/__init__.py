"""What a raster shows: catalogue of sensors, recognition from metadata, bands in a model's order and unit."""
