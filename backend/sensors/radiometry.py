"""What stored numbers mean: the user decides, then metadata, then rules of the catalogue; else it stays a question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from backend.geo.source import BandInfo
from backend.protocol.jobs import InputSpec
from backend.sensors.catalogue import UNITS, Band, DigitalRule, Sensor
from backend.sensors.evidence import Statement
from backend.sensors.parts import Coefficients

PHYSICAL = tuple(unit for unit in UNITS if unit != "dn")


@dataclass(frozen=True)
class Facts:
    """What is known of a band's numbers.

    Attributes:
        sensor: the sensor, None when it is not known.
        band: the sensor's band.
        header: the band's header in its file.
        stated: unit and factor that metadata or the file's name state.
        product: coefficients of the product's own metadata.
        baseline: processing baseline such as "04.00".
        date: acquisition date.
        names: names of product and files.
    """

    sensor: Sensor | None
    band: Band | None
    header: BandInfo
    stated: Statement
    product: Coefficients | None
    baseline: str | None
    date: str | None
    names: tuple[str, ...]


@dataclass(frozen=True)
class Radiometry:
    """Numbers become `(number + offset) * scale` in `unit`; that is squared where `transfer` is "amplitude"."""

    unit: str
    offset: float = 0.0
    scale: float = 1.0
    transfer: str = ""
    origin: str = ""
    doubt: str = ""
    warning: str = ""


@dataclass(frozen=True)
class Open:
    """A question that metadata does not answer, and the options that do."""

    question: str
    answer: str


def decide(facts: Facts, user: InputSpec | None = None) -> Radiometry | Open:
    """The meaning of a band's numbers; the user's word first, then the product's, the file's and the catalogue's."""
    named = _rule_by_name(facts.sensor, user.unit) if user is not None and user.unit else None
    if named is not None and user is not None:
        return _overridden(
            Radiometry(named.unit, named.offset, named.scale, named.transfer, f"::unit={named.name}"), user
        )
    if user is not None and user.unit in PHYSICAL:
        return _in_unit(facts, user)
    digital = user is not None and (user.unit == "dn" or user.offset is not None)
    settled = user is not None and user.offset is not None
    found = _without_user(facts, digital, settled)
    if user is None or (user.offset is None and user.scale is None):
        return found
    if isinstance(found, Open):
        return (
            _overridden(Radiometry(_unit_of(facts), origin="options of the input"), user)
            if user.scale is not None
            else found
        )
    return _overridden(found, user)


def base_unit(facts: Facts) -> str:
    """The physical unit that the sensor's band has after conversion."""
    return _unit_of(facts)


def _without_user(facts: Facts, digital: bool, settled: bool) -> Radiometry | Open:
    """The meaning as far as files and catalogue tell.

    Args:
        digital: the user said that the numbers are digital numbers.
        settled: the user gave the offset, so rules that differ in it alone do not matter.
    """
    if facts.product is not None:
        return Radiometry(facts.product.unit, facts.product.offset, facts.product.scale, "", "product metadata")
    rules = _rules(facts, settled)
    stated, header = facts.stated, facts.header
    if _scaled(header):
        return _by_file(
            facts,
            rules,
            stated.unit if stated.unit in PHYSICAL else _unit_of(facts),
            header.scale,
            header.offset / header.scale,
        )
    if stated.unit in PHYSICAL and stated.scale is not None:
        return _by_file(facts, rules, stated.unit, stated.scale, 0.0)
    if stated.unit in PHYSICAL and _floating(header):
        return Radiometry(stated.unit, origin="unit stated by metadata or name")
    if len(rules) == 1 and _applies(rules[0], facts, digital):
        rule = rules[0]
        return Radiometry(
            rule.unit,
            rule.offset,
            rule.scale,
            rule.transfer,
            f"rule {rule.name} of the sensor",
            _note(rule, facts),
            rule.warning,
        )
    if header.dtype == "uint8" and (facts.sensor is None or facts.sensor.modality != "sar"):
        return Radiometry("dn", origin="8-bit numbers without a calibration", doubt=_picture_doubt(facts.sensor))
    return _question(facts, rules, digital)


def _by_file(facts: Facts, rules: Sequence[DigitalRule], unit: str, scale: float, offset: float) -> Radiometry | Open:
    """Scale of the file; where it states no offset, the one of the catalogue's rule."""
    shifted = [rule for rule in rules if rule.unit == unit and (rule.from_baseline or rule.before_baseline)]
    if offset != 0.0 or not shifted:
        return Radiometry(unit, offset, scale, "", "scale stated by the file")
    if len(shifted) > 1:
        return _offset_question(facts, shifted)
    return Radiometry(
        unit,
        shifted[0].offset,
        scale,
        "",
        f"scale stated by the file, offset by rule {shifted[0].name}",
        _note(shifted[0], facts),
    )


def _picture_doubt(sensor: Sensor | None) -> str:
    """What is unsure about 8-bit numbers of a sensor that measures reflectance."""
    if sensor is None or sensor.unit != "reflectance":
        return ""
    return "the numbers are 8-bit without a calibration, as in a picture made for display"


def _note(rule: DigitalRule, facts: Facts) -> str:
    """What stays unsure when a rule was taken without a processing baseline."""
    return rule.note if facts.baseline is None else ""


def _applies(rule: DigitalRule, facts: Facts, digital: bool) -> bool:
    """Rules for digital numbers hold for integers; for floating-point numbers only when the user says so."""
    if rule.unit == "dn" or rule.chosen or digital:
        return True
    return not _floating(facts.header) and facts.header.dtype != "uint8"


def _rules(facts: Facts, settled: bool) -> list[DigitalRule]:
    """The catalogue's rules that may hold for a band."""
    if facts.sensor is None:
        return []
    text = "\n".join(facts.names)
    rules = [
        rule
        for rule in facts.sensor.digital
        if not rule.bands or (facts.band is not None and facts.band.name in rule.bands)
    ]
    matched = [rule for rule in rules if rule.product and re.search(rule.product, text, re.IGNORECASE | re.MULTILINE)]
    if matched:
        return matched[:1]
    rules = [rule for rule in rules if not rule.product and not rule.chosen]
    if settled and rules and len({(rule.scale, rule.unit) for rule in rules}) == 1:
        return [DigitalRule(rules[0].name, rules[0].unit, rules[0].scale)]
    return _of_baseline(rules, facts)


def _of_baseline(rules: list[DigitalRule], facts: Facts) -> list[DigitalRule]:
    """Rules narrowed down by processing baseline, or by date where the baseline is not known."""
    if facts.baseline is not None:
        baseline = facts.baseline
        return [
            rule for rule in rules if (rule.from_baseline or "00.00") <= baseline < (rule.before_baseline or "99.99")
        ]
    older = [rule for rule in rules if rule.before_date and facts.date is not None and facts.date < rule.before_date]
    return older or rules


def _in_unit(facts: Facts, user: InputSpec) -> Radiometry | Open:
    """The user says which unit the numbers are in; the factor comes from the options, the file, or is 1."""
    unit = user.unit or ""
    header, stated = facts.header, facts.stated
    if user.scale is not None or user.offset is not None:
        return Radiometry(
            unit, user.offset or 0.0, user.scale if user.scale is not None else 1.0, "", "options of the input"
        )
    if _scaled(header):
        return Radiometry(unit, header.offset / header.scale, header.scale, "", "unit by the user, scale by the file")
    if stated.scale is not None and stated.unit == unit:
        return Radiometry(unit, 0.0, stated.scale, "", "unit and factor stated by metadata")
    if not _floating(header) and unit in ("reflectance", "db"):
        return Open(
            f"how whole numbers ({header.dtype}) become {unit} is not stated",
            f"give ::unit={unit};scale= (and ::offset=, added before the scale)",
        )
    return Radiometry(unit, origin=f"::unit={unit}")


def _overridden(found: Radiometry, user: InputSpec) -> Radiometry:
    """The user's offset and scale in place of those found."""
    offset = found.offset if user.offset is None else user.offset
    scale = found.scale if user.scale is None else user.scale
    if (offset, scale) == (found.offset, found.scale):
        return found
    return Radiometry(found.unit, offset, scale, found.transfer, "options of the input")


def _question(facts: Facts, rules: Sequence[DigitalRule], digital: bool) -> Open:
    sensor = facts.sensor
    if sensor is not None and sensor.modality == "sar":
        others = [rule.name for rule in sensor.digital if rule.chosen and not rule.product]
        named = f", or {' or '.join(f'::unit={name}' for name in others)} for that product's numbers" if others else ""
        return Open(
            "whether the backscatter is in decibel or linear is not stated", f"give ::unit=db or ::unit=linear{named}"
        )
    if _floating(facts.header) and rules and not digital:
        offsets = _offsets(rules)
        more = (
            f"::offset={offsets[0]}" if len(offsets) == 1 else " or ".join(f"::offset={offset}" for offset in offsets)
        )
        return Open(
            "whether the numbers are reflectance (0 to 1) or digital numbers is not stated",
            f"give ::unit=reflectance, or {more} for digital numbers",
        )
    if len(rules) > 1:
        return _offset_question(facts, rules)
    names = (
        [
            rule.name
            for rule in sensor.digital
            if not rule.bands or (facts.band is not None and facts.band.name in rule.bands)
        ]
        if sensor
        else []
    )
    choices = f"give {' or '.join(f'::unit={name}' for name in names)}, or " if names else "give "
    unit = _unit_of(facts)
    if _floating(facts.header):
        return Open("the unit of the numbers is not stated", f"{choices}::unit={unit}, or ::unit={unit};scale=")
    return Open(
        f"how the numbers become {unit} is not stated",
        f"{choices}::unit={unit};scale= (and ::offset=, added before the scale)",
    )


def _offset_question(facts: Facts, rules: Sequence[DigitalRule]) -> Open:
    """The offset that came with a processing baseline."""
    later = next((rule for rule in rules if rule.from_baseline), rules[0])
    limit = next((rule.before_date for rule in rules if rule.before_date), None)
    why = f"the scene is of {facts.date}" if facts.date else "its date is not known"
    earlier = f"; a ::date= before {limit} answers it too" if limit and not facts.date else ""
    return Open(
        f"whether the numbers still contain the offset of processing baseline {later.from_baseline} "
        f"is not stated ({why})",
        f"give ::offset={later.offset:g} when they do, ::offset=0 when it was already removed{earlier}",
    )


def _offsets(rules: Sequence[DigitalRule]) -> list[str]:
    return [f"{offset:g}" for offset in sorted({rule.offset for rule in rules}, reverse=True)]


def _rule_by_name(sensor: Sensor | None, name: str) -> DigitalRule | None:
    return next((rule for rule in sensor.digital if rule.name == name), None) if sensor is not None else None


def _unit_of(facts: Facts) -> str:
    """The unit of the sensor's band after conversion."""
    if facts.sensor is None:
        return "reflectance"
    if facts.band is not None:
        own = [rule.unit for rule in facts.sensor.digital if facts.band.name in rule.bands]
        if own:
            return own[0]
    return facts.sensor.unit


def _scaled(header: BandInfo) -> bool:
    """True when the file itself states a usable scale or offset."""
    return header.scale != 0.0 and (header.scale != 1.0 or header.offset != 0.0)


def _floating(header: BandInfo) -> bool:
    return header.dtype.startswith("float")
