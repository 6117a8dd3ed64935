"""What runs inside QGIS: it starts the backend, asks it for results and shows them."""
