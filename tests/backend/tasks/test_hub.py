"""Published weights from the Hub to a model that runs: the whole way, from a server on this computer."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from safetensors.torch import save

from backend.manifest import download, hub, store
from backend.protocol.errors import Cancelled, DeviceError, InputError, PackageError
from backend.protocol.jobs import ComputeSpec, EmbedJob, InputSpec, InstallJob, RemoveJob, SegmentJob
from backend.runtime.packing import published
from backend.runtime.packing.bands import SENTINEL_2
from backend.tasks import models, scene
from backend.tasks import published as task
from backend.tasks.context import Context
from tests.backend.runtime.smarties_files import Tensors, pretrained, with_head, written
from tests.rasters import utm_grid, write_raster

TINY = "somebody/theirs/tiny.safetensors"
PACKAGE = "somebody-theirs-tiny"
FINETUNED = "gsumbul/SMARTIES-v1-finetuned-models/smarties-v1-vitb-eurosat-finetune.safetensors"


@pytest.fixture
def hub_at(web: Any, store_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server as mirror of the Hub."""
    monkeypatch.setenv(hub.ENDPOINT, web.address)
    return web


@pytest.fixture(scope="module")
def content() -> bytes:
    return save(pretrained())


def half(tensors: Tensors) -> bytes:
    return save({name: tensor.half() for name, tensor in tensors.items()})


def install(source: str, context: Context | None = None) -> dict[str, Any]:
    return models.install(InstallJob(f"hf:{source}"), context or Context())


def left(store_folder: Path) -> list[str]:
    """Everything that is kept, as far as it is a file."""
    home = store_folder.parent
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def test_the_life_of_a_published_encoder(hub_at: Any, content: bytes, store_folder: Path) -> None:
    hub_at.files["tiny.safetensors"] = content
    digest = hashlib.sha256(content).hexdigest()
    first = install(TINY)
    assert (first["reference"], first["already_installed"], first["sha256"]) == (f"{PACKAGE}@1.0.0", False, digest)
    assert first["needs"] == []
    assert hub_at.requests == [("/somebody/theirs/resolve/main/tiny.safetensors", "")]
    again = install(f"{TINY}#sha256={digest}")
    assert (again["already_installed"], again["sha256"]) == (True, digest)
    assert len(hub_at.requests) == 1, "what is there is not fetched again"
    with pytest.raises(PackageError, match="another package called"):
        install(f"{TINY}#sha256={'0' * 64}")
    assert PACKAGE in {entry["name"] for entry in models.list_models()}
    assert "Apache-2.0" in "\n".join(models.describe(PACKAGE)["summary"])
    assert models.verify(PACKAGE, ComputeSpec(device="cpu"))["ok"]
    assert {path.split("/")[0] for path in left(store_folder)} == {"models"}
    models.remove(RemoveJob(PACKAGE))
    assert left(store_folder) == []


def test_an_interrupted_download_goes_on(
    hub_at: Any, content: bytes, store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_at.files["tiny.safetensors"] = content
    hub_at.breaks = [1000] * download.ATTEMPTS
    with pytest.raises(PackageError, match="connection broke"):
        install(TINY)
    assert not store_folder.exists() or list(store_folder.iterdir()) == []
    install(TINY)
    assert hub_at.requests[-1][1] == f"bytes={1000 * download.ATTEMPTS}-"


def test_a_wrong_digest_leaves_nothing(hub_at: Any, content: bytes, store_folder: Path) -> None:
    hub_at.files["tiny.safetensors"] = content
    with pytest.raises(PackageError, match="not the expected file"):
        install(f"{TINY}#sha256={'0' * 64}")
    assert left(store_folder) == []


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        (b"<!doctype html><html><body>Sign in</body></html>" * 20, "is no file of weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "is no file of weights"),
        (b"\x80\x04\x95" + b"pickled" * 100, "is no file of weights"),
        (b"", "is no file of weights"),
    ],
    ids=["page", "pointer", "pickle", "nothing"],
)
def test_what_is_no_file_of_weights_is_refused(hub_at: Any, store_folder: Path, sent: bytes, named: str) -> None:
    hub_at.files["tiny.safetensors"] = sent
    with pytest.raises(PackageError, match=f"somebody/theirs/tiny.safetensors {named}") as caught:
        install(TINY)
    assert left(store_folder) == [] and str(store_folder.parent) not in caught.value.sentence()


def test_an_unexpected_tensor_leaves_nothing(hub_at: Any, store_folder: Path) -> None:
    tensors = pretrained()
    hub_at.files["tiny.safetensors"] = save({**tensors, "adapter.weight": tensors["norm.bias"].clone()})
    with pytest.raises(PackageError, match=r"adapter\.weight"):
        install(TINY)
    assert left(store_folder) == []


def test_other_files_are_refused_before_anything_is_fetched(hub_at: Any) -> None:
    for name in ("pytorch_model.bin", "smarties_model.py"):
        with pytest.raises(PackageError, match="only safetensors"):
            install(f"gsumbul/SMARTIES-v1-ViT-B/{name}")
    with pytest.raises(InputError, match="eurosat-finetune"):
        install("gsumbul/SMARTIES-v1-finetuned-models")
    assert hub_at.requests == []


def test_a_missing_file_is_told(hub_at: Any) -> None:
    with pytest.raises(PackageError, match="404"):
        install(TINY)


def test_without_torch_nothing_is_fetched(hub_at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "installed", lambda name: name != "torch")
    with pytest.raises(DeviceError, match="torch"):
        install(TINY)
    assert hub_at.requests == []


def test_a_cancelled_installation_leaves_nothing(hub_at: Any, content: bytes, store_folder: Path) -> None:
    hub_at.files["tiny.safetensors"] = content
    context = Context()
    context.cancel()
    with pytest.raises(Cancelled):
        install(TINY, context)
    assert left(store_folder) == []


def test_another_file_of_the_same_package_name_is_not_taken_for_it(hub_at: Any, content: bytes) -> None:
    hub_at.files |= {"a-b.safetensors": content, "a_b.safetensors": content}
    install("somebody/theirs/a-b.safetensors")
    with pytest.raises(PackageError, match="another package called somebody-theirs-a-b"):
        install("somebody/theirs/a_b.safetensors")


def test_an_installed_encoder_embeds_a_scene(hub_at: Any, content: bytes, tmp_path: Path) -> None:
    hub_at.files["tiny.safetensors"] = content
    install(TINY)
    pixels = np.random.default_rng(0).uniform(0, 0.3, (12, 160, 150)).astype(np.float32)
    raster = write_raster(tmp_path / "scene.tif", pixels, utm_grid(150, 160))
    spec = InputSpec("ms", (raster,), bands=tuple(SENTINEL_2), unit="reflectance")
    job = EmbedJob((spec,), (PACKAGE,), str(tmp_path / "out.tif"), compute=ComputeSpec("cpu", "fp32"))
    result = scene.run(job, Context())
    with rasterio.open(result["outputs"]["embedding"][0]) as dataset:
        assert dataset.count == 128 and dataset.res == (80.0, 80.0)
        values = dataset.read()
    assert np.isfinite(values[:, :-1, :-1]).all() and values.std() > 0


def test_the_land_cover_head_maps_scenes_scaled_as_its_data_set(store_folder: Path, tmp_path: Path) -> None:
    name = "smarties-v1-vitb-dfc2020-linprobe.safetensors"
    file = replace(hub.parse(f"hf:gsumbul/SMARTIES-v1-finetuned-models/{name}"), member="")  # the file is small
    path = written(with_head("segmentation", 8), tmp_path / name)
    made = published.convert(path, published.Source(file, "0" * 64), tmp_path)
    for package in made:
        store.install(package.root)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 110, 120), np.uint8)
    raster = write_raster(tmp_path / "scene.tif", pixels, utm_grid(120, 110))
    spec = InputSpec("ms", (raster,), bands=tuple(SENTINEL_2), unit="dn")
    job = SegmentJob((spec,), (file.package,), str(tmp_path / "map.tif"), compute=ComputeSpec("cpu", "fp32"))
    scene.run(job, Context())
    with rasterio.open(tmp_path / "map.tif") as dataset:
        assert dataset.shape == (110, 120)
        assert set(np.unique(dataset.read(1))) <= {1, 2, 4, 5, 6, 7, 9, 10}
    other = write_raster(tmp_path / "other.tif", pixels.astype(np.uint16) * 30, utm_grid(120, 110))
    wrong = replace(job, inputs=(replace(spec, paths=(other,), unit=None),), output=str(tmp_path / "no.tif"))
    with pytest.raises(InputError, match=r"0 \.\.\. 255"):
        scene.run(wrong, Context())


@pytest.mark.slow
def test_a_published_file_of_full_size_with_its_decoder(hub_at: Any) -> None:
    hub_at.files["smarties-v1-vitb.safetensors"] = half(pretrained("vit-b", (512, 8)))
    installed = install("gsumbul/SMARTIES-v1-ViT-B")
    assert installed["reference"] == "smarties-vit-b@1.0.0"
    assert hub_at.requests == [("/gsumbul/SMARTIES-v1-ViT-B/resolve/main/smarties-v1-vitb.safetensors", "")]
    assert models.verify("smarties-vit-b", ComputeSpec(device="cpu", precision="fp32"))["ok"]


@pytest.mark.slow
def test_a_fine_tuned_file_of_full_size_is_an_encoder_and_its_head(hub_at: Any, store_folder: Path) -> None:
    hub_at.files[FINETUNED.rpartition("/")[2]] = half(with_head("finetuned", 10, "vit-b"))
    installed = install(FINETUNED)
    name = "smarties-vit-b-eurosat-finetune"
    assert (installed["reference"], installed["kind"], installed["task"]) == (f"{name}@1.0.0", "head", "classify")
    assert {path.name for path in store_folder.iterdir()} == {f"{name}-1.0.0", f"{name}-encoder-1.0.0"}
    assert [needed["name"] for needed in installed["needs"]] == [f"{name}-encoder"]
    with pytest.raises(PackageError, match="need it"):
        models.remove(RemoveJob(f"{name}-encoder"))
    models.remove(RemoveJob(name))
    again = install(FINETUNED)  # the encoder is still there: only the head is made
    assert not again["already_installed"] and again["sha256"] == installed["sha256"]
    assert [needed["already_installed"] for needed in again["needs"]] == [True]
    assert install(FINETUNED)["already_installed"]
