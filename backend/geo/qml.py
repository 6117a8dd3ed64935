"""QGIS's styles of results, as QML: classes in their colours, confidence as a veil, polygons by class."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring  # nosec B405 - writes only, parses nothing

from backend.geo.raster_xml import LegendClass
from backend.protocol.errors import OutputError

DOCTYPE = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
VERSION = "3.22.0"
UNCHANGED = "unchanged"  # the class of a comparison that lets the map below show through
# White and opaque where the model is at a loss, nothing where it is sure: confidence and alpha.
_VEIL = ((0.0, 230), (0.5, 200), (0.75, 90), (1.0, 0))
_FILL_ALPHA = 153


def class_style(classes: Sequence[LegendClass]) -> bytes:
    """The style of a class raster."""
    root, renderer = _raster("paletted")
    palette = SubElement(renderer, "colorPalette")
    for one in classes:
        alpha = "0" if one.name == UNCHANGED else "255"
        SubElement(palette, "paletteEntry", value=str(one.value), color=_hex(one), label=one.name, alpha=alpha)
    return DOCTYPE + tostring(root)


def confidence_style() -> bytes:
    """The style of a confidence raster, 0 to 1."""
    root, renderer = _raster("singlebandpseudocolor", classificationMin="0", classificationMax="1")
    shader = SubElement(SubElement(renderer, "rastershader"), "colorrampshader", colorRampType="INTERPOLATED", clip="0")
    for value, alpha in _VEIL:
        SubElement(shader, "item", value=f"{value:g}", color="#ffffff", alpha=str(alpha), label=f"{value:.0%}")
    return DOCTYPE + tostring(root)


def polygon_style(classes: Sequence[LegendClass], field: str) -> bytes:
    """The style of class polygons: filled by the value of a field of names."""
    root = Element("qgis", version=VERSION, styleCategories="Symbology")
    renderer = SubElement(root, "renderer-v2", type="categorizedSymbol", attr=field, symbollevels="0")
    categories, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
    for number, one in enumerate(classes):
        render = "false" if one.name == UNCHANGED else "true"
        SubElement(
            categories, "category", value=one.name, label=one.name, symbol=str(number), render=render, type="string"
        )
        symbol = SubElement(symbols, "symbol", name=str(number), type="fill", alpha="1", clip_to_extent="1")
        layer = SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0"})
        red, green, blue = one.color
        line = ",".join(str(round(part * 0.6)) for part in one.color)
        for key, value in (
            ("color", f"{red},{green},{blue},{_FILL_ALPHA}"),
            ("outline_color", f"{line},255"),
            ("outline_width", "0.3"),
            ("style", "solid"),
        ):
            SubElement(layer, "prop", k=key, v=value)
    return DOCTYPE + tostring(root)


def embed_style(package: Path, layer: str, style: bytes) -> None:
    """Put a style into a GeoPackage as its layer's default, where QGIS looks for it.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        with closing(sqlite3.connect(package)) as database, database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, "
                "f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256), "
                "f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, "
                "description TEXT, owner TEXT(30), ui TEXT(30), "
                "update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))"
            )
            known = database.execute("SELECT 1 FROM gpkg_contents WHERE table_name = 'layer_styles'").fetchone()
            if known is None:
                database.execute(
                    "INSERT INTO gpkg_contents (table_name, data_type, identifier) "
                    "VALUES ('layer_styles', 'attributes', 'layer_styles')"
                )
            database.execute("DELETE FROM layer_styles WHERE f_table_name = ?", (layer,))
            column = database.execute(
                "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?", (layer,)
            ).fetchone()
            database.execute(
                "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, "
                "styleName, styleQML, styleSLD, useAsDefault, description, owner) "
                "VALUES ('', '', ?, ?, 'EarthPrism', ?, '', 1, '', '')",
                (layer, column[0] if column else "geom", style.decode()),
            )
    except sqlite3.Error as error:
        raise OutputError(f'the style cannot be written into "{package}"', str(error)) from error


def _raster(kind: str, **attributes: str) -> tuple[Element, Element]:
    root = Element("qgis", version=VERSION, styleCategories="AllStyleCategories")
    pipe = SubElement(root, "pipe")
    shared = {"type": kind, "band": "1", "opacity": "1", "alphaBand": "-1"}
    renderer = SubElement(pipe, "rasterrenderer", {**shared, **attributes})
    return root, renderer


def _hex(one: LegendClass) -> str:
    return "#{:02x}{:02x}{:02x}".format(*one.color)
