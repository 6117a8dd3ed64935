"""How results look: classes in the model's colours, confidence as a veil over what is uncertain, polygons by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsColorRampShader,
    QgsFillSymbol,
    QgsPalettedRasterRenderer,
    QgsRasterShader,
    QgsRendererCategory,
    QgsSingleBandPseudoColorRenderer,
)
from qgis.PyQt.QtGui import QColor

from .results import UNCHANGED, ClassStyle

CLASS_FIELD = "class"
# From the same to nothing in common; light to dark red as of the changed class.
_DIFFERENCE = ((0.0, "#fff5f0"), (0.25, "#fcbba1"), (0.5, "#fb6a4a"), (1.0, "#a50f15"))
# The veil: white and opaque where the model is at a loss, nothing where it is sure.
_VEIL = ((0.0, 230), (0.5, 200), (0.75, 90), (1.0, 0))
_POLYGON_OPACITY = 0.6


def legend_of(layer: Any) -> tuple[ClassStyle, ...]:
    """The classes that a class raster's own colour table names; the table's unused places are left out."""
    table = layer.dataProvider().colorTable(1)
    return tuple(
        ClassStyle(int(item.value), item.label, item.color.name()) for item in table if item.label != f"{item.value:g}"
    )


def style_classes(layer: Any, legend: Sequence[ClassStyle]) -> None:
    """Give a class raster its legend."""
    classes = [QgsPalettedRasterRenderer.Class(item.value, _color(item), item.name) for item in legend]
    layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), 1, classes))


def style_confidence(layer: Any) -> None:
    """Show a confidence raster (0 to 1) as a veil: what is uncertain is covered."""
    _style_by_value(layer, [(value, QColor(255, 255, 255, alpha), f"{value:.0%}") for value, alpha in _VEIL])


def style_difference(layer: Any) -> None:
    """Show the distance of two dates' embeddings, 1 - cosine, from 0 (the same) to 1 (nothing in common) and more."""
    _style_by_value(layer, [(value, QColor(color), f"{value:g}") for value, color in _DIFFERENCE])


def _style_by_value(layer: Any, stops: Sequence[tuple[float, QColor, str]]) -> None:
    """Colours between stops: value from 0 to 1, colour, label."""
    ramp = QgsColorRampShader(0.0, 1.0)
    ramp.setColorRampType(QgsColorRampShader.Type.Interpolated)
    ramp.setColorRampItemList([QgsColorRampShader.ColorRampItem(*stop) for stop in stops])
    shader = QgsRasterShader(0.0, 1.0)
    shader.setRasterShaderFunction(ramp)
    renderer = QgsSingleBandPseudoColorRenderer(layer.dataProvider(), 1, shader)
    renderer.setClassificationMin(0.0)
    renderer.setClassificationMax(1.0)
    layer.setRenderer(renderer)


def style_polygons(layer: Any, legend: Sequence[ClassStyle]) -> None:
    """Give class polygons the raster's legend."""
    categories = []
    for item in legend:
        line = QColor(item.color).darker(150).name()
        symbol = QgsFillSymbol.createSimple({"color": item.color, "outline_color": line, "outline_width": "0.3"})
        symbol.setOpacity(_POLYGON_OPACITY)
        categories.append(QgsRendererCategory(item.name, symbol, item.name, item.name != UNCHANGED))
    layer.setRenderer(QgsCategorizedSymbolRenderer(CLASS_FIELD, categories))


def _color(item: ClassStyle) -> QColor:
    color = QColor(item.color)
    color.setAlpha(0 if item.name == UNCHANGED else 255)
    return color
