"""Sources on the Hub: what they name, what is known of it, where it is fetched from."""

from __future__ import annotations

import re

import pytest

from backend.manifest import hub
from backend.protocol.errors import InputError, PackageError

FINETUNED = "gsumbul/SMARTIES-v1-finetuned-models"
# smarties.md, section 10: data set and head, and for which sizes there is a file.
PUBLISHED = {
    "bigearthnets2-finetune": ("bigearthnet-s2", 19, "bl"),
    "bigearthnets1-linprobe": ("bigearthnet-s1", 19, "bl"),
    "bigearthnetmm-linprobe": ("bigearthnet-mm", 19, "bl"),
    "eurosat-finetune": ("eurosat", 10, "bl"),
    "eurosat-linprobe": ("eurosat", 10, "bl"),
    "resisc45-finetune": ("resisc45", 45, "l"),
    "dfc2020-linprobe": ("dfc2020", 8, "b"),
}
DIGEST = "ab" * 32


@pytest.mark.parametrize("size", ["B", "L"])
def test_a_repository_with_one_file(size: str) -> None:
    file = hub.parse(f"hf:gsumbul/SMARTIES-v1-ViT-{size}#sha256={DIGEST.upper()}")
    assert file.file == f"smarties-v1-vit{size.lower()}.safetensors"
    assert file.packages() == (f"smarties-vit-{size.lower()}",)
    assert (file.digest, file.layout, file.data_set) == (DIGEST, "pretrained", None)
    assert file == hub.parse(f"hf:gsumbul/SMARTIES-v1-ViT-{size}/{file.file}#sha256={DIGEST}")


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_file_is_known(name: str) -> None:
    _, classes, sizes = PUBLISHED[name]
    for size in sizes:
        file = hub.parse(f"hf:{FINETUNED}/smarties-v1-vit{size}-{name}.safetensors")
        assert file.data_set is not None and len(file.data_set.classes) == classes
        assert file.member == f"vit-{size}" and file.package == f"smarties-vit-{size}-{name}"
        assert len(file.packages()) == (1 if "mm" in name else 2)
        for package in file.packages():
            assert len(package) <= hub.LONGEST_NAME and re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", package)
    for size in set("bl") - set(sizes):
        with pytest.raises(InputError, match="no file"):
            hub.parse(f"hf:{FINETUNED}/smarties-v1-vit{size}-{name}.safetensors")


def test_a_repository_with_several_files_names_them() -> None:
    with pytest.raises(InputError) as caught:
        hub.parse(f"hf:{FINETUNED}")
    for name, (_, _, sizes) in PUBLISHED.items():
        for size in sizes:
            assert f"smarties-v1-vit{size}-{name}.safetensors" in caught.value.why
    with pytest.raises(InputError, match="not a known one"):
        hub.parse("hf:somebody/theirs")


@pytest.mark.parametrize(
    "text",
    [
        "hf:",
        "hf:gsumbul",
        "hf:a/b/c/d.safetensors",
        "hf:../b/c.safetensors",
        "hf:a/b/../c.safetensors",
        "hf:a//b",
        "hf:a/b/c%2e.safetensors",
        "hf:a/b/c?x=1.safetensors",
        "hf:a/b/c.safetensors#md5=1",
        "hf:a b/c",
    ],
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        hub.parse(text)


@pytest.mark.parametrize("file", ["pytorch_model.bin", "weights.pth", "smarties_model.py", "spectrum_specs.yaml"])
@pytest.mark.parametrize("repository", ["gsumbul/SMARTIES-v1-ViT-B", "somebody/theirs"])
def test_only_safetensors_files_are_taken(repository: str, file: str) -> None:
    with pytest.raises(PackageError, match=f"{file} cannot be installed: only safetensors"):
        hub.parse(f"hf:{repository}/{file}")


def test_an_unknown_file_gets_a_name_of_its_own() -> None:
    names = {
        hub.parse(f"hf:{text}.safetensors").package for text in ("1st/Mine/a", "1st/Mine/b_c", "x/" + "y" * 90 + "/z")
    }
    assert {"hub-1st-mine-a", "hub-1st-mine-b-c"} < names and all(len(name) <= hub.LONGEST_NAME for name in names)


def test_a_mirror_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    file = hub.parse(f"hf:gsumbul/SMARTIES-v1-ViT-B#sha256={DIGEST}")
    path = "/gsumbul/SMARTIES-v1-ViT-B/resolve/main/smarties-v1-vitb.safetensors"
    monkeypatch.delenv(hub.ENDPOINT, raising=False)
    assert file.download_address().url == "https://huggingface.co" + path
    monkeypatch.setenv(hub.ENDPOINT, "http://mirror.example/hub/")
    assert file.download_address().url == "http://mirror.example/hub" + path
    assert file.download_address().digest == DIGEST
    assert file.address == "https://huggingface.co" + path
    monkeypatch.setenv(hub.ENDPOINT, "file:///etc")
    with pytest.raises(InputError):
        file.download_address()


def test_class_names_and_values_are_each_of_one_class() -> None:
    for name, (data_set, _, sizes) in PUBLISHED.items():
        found = hub.parse(f"hf:{FINETUNED}/smarties-v1-vit{sizes[0]}-{name}.safetensors").data_set
        assert found is not None and found.source and found.title, data_set
        assert len({value for value, *_ in found.classes}) == len({name for _, name, _ in found.classes})
        for slot in found.slots.values():  # the nearest whole number to 224 px for the images' width
            assert slot.pixels_per_token == round(slot.image_px / 14)
