"""Checkpoint files of torch.distributed.checkpoint that hold tensors and nothing else.

Torch indexes its shards by a pickle, which whoever can write to a run folder could make do anything. Here the index is
JSON, and the shards are read with `weights_only`; an entry that is no tensor is refused when it is written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.storage import WriteResult

INDEX = "index.json"


class TensorWriter(FileSystemWriter):
    """Writes shards, and at the end their index."""

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """The index: for every tensor its type, its size, and where in which file its rectangles are.

        Raises:
            ValueError: an entry is no tensor.
        """
        places = {result.index: result.storage_data for some in results for result in some}
        index = {}
        for name, entry in metadata.state_dict_metadata.items():
            if not isinstance(entry, TensorStorageMetadata):
                raise ValueError(f"{name} is no tensor")
            chunks = [_described(chunk, places[MetadataIndex(name, chunk.offsets)]) for chunk in entry.chunks]
            dtype = str(entry.properties.dtype).removeprefix("torch.")
            index[name] = {"dtype": dtype, "size": list(entry.size), "chunks": chunks}
        (Path(self.path) / INDEX).write_text(json.dumps(index), encoding="utf-8")


class TensorReader(FileSystemReader):
    """Reads what `TensorWriter` wrote."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The index.

        Raises:
            ValueError: it is none.
        """
        tensors: dict[str, Any] = {}
        places: dict[MetadataIndex, _StorageInfo] = {}
        for name, entry in json.loads((Path(self.path) / INDEX).read_text("utf-8")).items():
            dtype = getattr(torch, entry["dtype"], None)
            if not isinstance(dtype, torch.dtype):
                raise ValueError(f"{entry['dtype']!r} is no type of a tensor")
            chunks = []
            for chunk in entry["chunks"]:
                chunks.append(ChunkStorageMetadata(torch.Size(chunk["offsets"]), torch.Size(chunk["sizes"])))
                file = Path(chunk["file"]).name
                places[MetadataIndex(name, chunks[-1].offsets)] = _StorageInfo(file, chunk["start"], chunk["length"])
            tensors[name] = TensorStorageMetadata(TensorProperties(dtype), torch.Size(entry["size"]), chunks)
        return Metadata(tensors, storage_data=places)


def _described(chunk: ChunkStorageMetadata, place: _StorageInfo) -> dict[str, Any]:
    """Where a rectangle of a tensor is."""
    return {
        "offsets": list(chunk.offsets),
        "sizes": list(chunk.sizes),
        "file": place.relative_path,
        "start": place.offset,
        "length": place.length,
    }
