"""Sensors of the catalogue as inputs of SMARTIES, which never saw them: bands are taken by wavelength."""

from __future__ import annotations

from backend.manifest.package import BandNeed
from backend.models.encoders.smarties_spectrum import centres
from backend.protocol.errors import ParameterError
from backend.runtime.packing.smarties import Slot, slots
from backend.sensors.catalogue import catalogue

WIDEST_NM = 200.0  # the widest trained range has 175; wider bands are panchromatic
REFLECTED_NM = 3000.0  # beyond it, what a sensor sees is mostly the Earth's own radiation


def unseen_input(name: str) -> Slot:
    """An input for a sensor of reflectance, by the sensor's name with "_" for dashes.

    Its bands are interpolated between the ranges that were trained (smarties.md, 9); what lies outside these, and bands
    as wide as several of them, stay out.

    Raises:
        ParameterError: there is no such sensor, or nothing of it can be taken.
    """
    sensor = catalogue().get(name.replace("_", "-"))  # what an input is called must not hold a dash
    if sensor is None:
        known = ", ".join(slots())
        raise ParameterError(f'there is no input "{name}"', f"there is {known}, and sensors by their names")
    trained = [centre for centre in centres() if centre < REFLECTED_NM]
    usable = [
        (band, BandNeed(band.name, band.center_nm, band.width_nm))
        for band in sensor.bands
        if band.center_nm is not None
        and min(trained) <= band.center_nm <= max(trained)
        and (band.width_nm or 0) <= WIDEST_NM
    ]
    if sensor.unit != "reflectance" or not usable:
        raise ParameterError(
            f"SMARTIES has no statistics for {sensor.title}",
            f"it gives {sensor.unit}" if usable else "none of its bands is known by wavelength",
            "sensors of reflectance can be taken",
        )
    pixels = [band.gsd_m for band, _ in usable if band.gsd_m]
    ranges = tuple(f"{band.center_nm:g}nm" for band, _ in usable)
    needs = tuple(need for _, need in usable)
    return Slot(sensor.modality, needs, ranges, (min(pixels) / 2, max(pixels) * 4), (sensor.name,))
