"""Which packages compute together: one encoder with the heads that belong to it, or one bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.manifest import files, load, locate
from backend.manifest.check import check_head
from backend.manifest.package import InputSlot, Output, Package, Tiling
from backend.protocol.errors import PackageError


@dataclass(frozen=True)
class Assembly:
    """Packages that share one pass over the input.

    Attributes:
        base: the encoder, or the bundle.
        heads: what runs on the encoder's features; empty for a bundle.
    """

    base: Package
    heads: tuple[Package, ...] = ()

    @property
    def packages(self) -> tuple[Package, ...]:
        """Base first, then the heads in the order given."""
        return (self.base, *self.heads)

    @property
    def inputs(self) -> tuple[InputSlot, ...]:
        """What the pass takes. Of a staged encoder that is what its heads look at, directly or joined."""
        if not (self.base.staged and self.heads):
            return self.base.inputs
        features = [feature for head in self.heads for feature in head.features]
        joined, direct = any(not f.slot for f in features), {f.slot for f in features}
        return tuple(
            replace(slot, required=slot.required or slot.name in direct)
            for slot in self.base.inputs
            if joined or slot.name in direct
        )

    @property
    def tiling(self) -> Tiling:
        """How a scene is cut for the pass, in pixels of the result."""
        return self.heads[0].tiling if self.heads else self.base.tiling

    @property
    def producers(self) -> tuple[Package, ...]:
        """The packages whose outputs are results: the heads, or the bundle."""
        return self.heads or (self.base,)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The first output of every producer; none for an encoder without heads."""
        return tuple(package.output for package in self.producers if package.output is not None)


def assemble(packages: Sequence[Package]) -> Assembly:
    """Finds the encoder of the heads and checks that everything fits.

    Args:
        packages: as chosen by the user; the encoder may be left out, it is looked for among the installed packages.

    Raises:
        PackageError: packages that cannot share a pass, or an encoder that is not installed.
    """
    if not packages:
        raise PackageError("no model was chosen", "", "name at least one with --model")
    heads = tuple(package for package in packages if package.kind == "head")
    others = [package for package in packages if package.kind != "head"]
    if len(others) > 1:
        names = " and ".join(package.reference for package in others)
        raise PackageError(
            f"{names} cannot share a pass", "only the heads of one encoder can", "run them one after another"
        )
    if not heads:
        return Assembly(others[0])
    base = others[0] if others else _installed_encoder(heads[0])
    for head in heads:
        check_head(head, base)
        if head.tiling != heads[0].tiling:
            raise PackageError(
                f"{heads[0].reference} and {head.reference} cannot share a pass",
                "they cut the scene differently",
                "run them one after another",
            )
    return Assembly(base, heads)


def _installed_encoder(head: Package) -> Package:
    """The installed package with the digest that the head names."""
    for _, _, folder in locate.candidates():
        try:
            digest = files.read_sums(folder)[1]
        except PackageError:  # a damaged package is nobody's encoder; `models list` shows it
            continue
        if digest == head.encoder:
            return load.load_folder(folder)
    raise PackageError(
        f"the encoder of {head.reference} is not installed",
        f"it needs the encoder package with the digest {head.encoder}",
        'install it with "earthprism models install PATH|URL"',
    )
