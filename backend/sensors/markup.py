"""Reads the few values we need from a product's XML, refusing documents that declare entities."""

from __future__ import annotations

from xml.parsers import expat

from backend.protocol.errors import SourceError

LARGEST = 16 << 20  # product metadata files are below 1 MB


class Element:
    """One element: its local name, attributes and text."""

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name, self.attributes, self.text = name, attributes, ""


def elements(document: bytes, path: str) -> list[Element]:
    """Every element of an XML document in document order, names without their namespace.

    Raises:
        SourceError: the document is damaged, too large, or declares a document type or entities.
    """
    if len(document) > LARGEST:
        raise SourceError(f'the metadata file "{path}" is too large', f"it has {len(document)} bytes")
    found: list[Element] = []
    stack: list[Element] = []
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        element = Element(name.rsplit(":", 1)[-1], attributes)
        found.append(element)
        stack.append(element)

    def text(data: str) -> None:
        if stack:
            stack[-1].text += data

    def refuse(*_: object) -> None:
        raise SourceError(
            f'the metadata file "{path}" is refused', "it declares a document type, which products never do"
        )

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise SourceError(f'the metadata file "{path}" is damaged', str(error), "download the product again") from error
    for element in found:
        element.text = element.text.strip()
    return found
