"""What holds for every registered head: shapes, gradients, weights, precision, export."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import nn

from backend.models.heads import HEADS, KINDS, build, names
from backend.models.heads.probes import NearestNeighbours, PrototypeProbe
from backend.models.load import load_weights, save_weights
from backend.protocol.errors import PackageError
from tests.backend.models.heads.cases import CASES, FEATURE, IDS, Case, Flat

# Made of other heads of this list, and slow to export.
COMPOSED = {
    "upernet-auxiliary",
    "upernet-fused",
    "upernet-pyramid",
    "upernet-series",
    "upernet-difference",
    "upernet-semantic-change",
}
every_case = pytest.mark.parametrize("case", CASES, ids=IDS)


def marked(case: Case, name: str) -> Any:
    slow = case.name in COMPOSED or "pools" in case.arguments or "ordered" in case.arguments
    return pytest.param(case, id=name, marks=[pytest.mark.slow] if slow else [])


def ready(case: Case) -> nn.Module:
    """The head in evaluation, with running statistics and samples that are not what it starts with."""
    head = case.head().train()
    generator = torch.Generator().manual_seed(5)
    if isinstance(head, (PrototypeProbe, NearestNeighbours)):
        count, width = 30, case.arguments["channels"]
        head.learn(torch.randn(count, width, generator=generator), torch.arange(count) % case.arguments["classes"])
    else:
        case.run(head, case.inputs(batch=4, seed=9))
    return head.eval()


def test_every_head_has_a_case() -> None:
    assert {case.name for case in CASES} == set(names()) == set(HEADS)
    assert sum(len(names(kind)) for kind in KINDS) == len(HEADS)


@every_case
def test_outputs_in_evaluation(case: Case) -> None:
    outputs = case.run(ready(case), case.inputs())
    assert [output.shape[1:] for output in outputs] == case.outputs
    assert all(output.shape[0] == 2 and output.isfinite().all() for output in outputs)
    assert {output.dtype for output in outputs} <= {torch.float32, torch.bool}


@every_case
def test_a_sample_does_not_depend_on_the_others(case: Case) -> None:
    head, inputs = ready(case), case.inputs(batch=3)
    whole = case.run(head, inputs)
    alone = case.run(head, [tensor[1:2] for tensor in inputs])
    for one, many in zip(alone, whole, strict=True):
        torch.testing.assert_close(one, many[1:2], atol=1e-5, rtol=1e-5)


@every_case
def test_every_parameter_and_every_used_input_gets_a_gradient(case: Case) -> None:
    head = ready(case).train()
    inputs = [tensor.requires_grad_() for tensor in case.inputs(batch=3)]
    outputs = [output for output in case.run(head, inputs) if output.is_floating_point()]
    loss = torch.stack([(output * torch.randn_like(output)).sum() for output in outputs]).sum()
    loss.backward()
    assert not [name for name, parameter in head.named_parameters() if parameter.grad is None]
    assert not [name for name, parameter in head.named_parameters() if not parameter.grad.isfinite().all()]
    used = [tensor.grad is not None and bool(tensor.grad.abs().sum() > 0) for tensor in inputs]
    assert all(used) if case.name not in {"fcn", "linear-map"} else used[-1]


@every_case
def test_weights_from_a_file_into_a_head_without_memory(case: Case, tmp_path: Path) -> None:
    head = ready(case)
    save_weights(head, tmp_path / "head.safetensors")
    loaded = load_weights(case.head(device="meta"), tmp_path / "head.safetensors").eval()
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in head.state_dict().items())
    # Tensors of a file lie at other addresses, for which convolutions may sum in another order.
    for first, second in zip(case.run(head, case.inputs()), case.run(loaded, case.inputs()), strict=True):
        torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-6)


@every_case
def test_initial_values_follow_the_seed(case: Case) -> None:
    one, same = case.head(seed=3).state_dict(), case.head(seed=3).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    other = case.head(seed=4).state_dict()
    learned_later = case.name in {"prototypes", "nearest-neighbours"}
    assert learned_later or any(not torch.equal(one[name], other[name]) for name in one)


@every_case
def test_mixed_precision_gives_float32_near_the_exact_result(case: Case) -> None:
    head = ready(case)
    with torch.inference_mode():
        exact = case.run(head, case.inputs())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = case.run(head, case.inputs())
    for first, second in zip(exact, mixed, strict=True):
        if first.dtype == torch.bool:
            continue
        assert second.dtype == torch.float32
        assert float((first - second).abs().max()) <= 0.05 * float(first.abs().max())


@every_case
def test_training_step_in_mixed_precision(case: Case) -> None:
    head = case.head().train()
    inputs = [tensor.requires_grad_() for tensor in case.inputs(batch=3)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = case.run(head, inputs)
    torch.stack([output.square().mean() for output in outputs if output.is_floating_point()]).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("case", [marked(*pair) for pair in zip(CASES, IDS, strict=True)])
def test_graph_agrees_for_any_batch(case: Case, tmp_path: Path, record_property: Any) -> None:
    head = ready(case)
    session = exported(Flat(head, case), case, tmp_path / "head.onnx")
    largest = 0.0  # over the largest value: untrained classifiers give small logits
    for batch in (1, 3):
        inputs = case.inputs(batch, seed=batch)
        with torch.inference_mode():
            expected = case.run(head, inputs)
        feeds = {node.name: tensor.numpy() for node, tensor in zip(session.get_inputs(), inputs, strict=True)}
        for want, found in zip(expected, session.run(None, feeds), strict=True):
            assert found.shape == want.shape
            difference = (torch.from_numpy(found).float() - want.float()).abs().max()
            largest = max(largest, float(difference / want.float().abs().max().clamp(max=1.0)))
    record_property("largest difference", largest)
    assert largest <= 1e-4


def exported(network: nn.Module, case: Case, path: Path) -> onnxruntime.InferenceSession:
    inputs = tuple(case.inputs(batch=2))
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecated calls
        torch.onnx.export(
            network.eval(),
            inputs,
            str(path),
            dynamo=True,
            input_names=[f"input{number}" for number in range(len(inputs))],
            dynamic_shapes={"inputs": tuple({0: batch} for _ in inputs)},
            external_data=False,
            verbose=False,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def test_what_cannot_be_built_is_explained() -> None:
    with pytest.raises(PackageError, match="there is no head 'unet'"):
        build("unet")
    for name, arguments in (
        ("linear-probe", {**FEATURE, "colour": "blue"}),
        ("upernet", {"channels": (4,), "classes": 2}),
        ("upernet", {"channels": (4, 4), "classes": 2, "pools": (1, 2)}),
        ("upernet-pyramid", {"channels": (4, 4), "classes": 2}),
        ("fcn", {"channels": (4, 4), "classes": 2, "level": 2}),
        ("nearest-neighbours", {**FEATURE, "samples": 0}),
        ("bit", {"channels": (4, 4), "width": 30}),
    ):
        with pytest.raises(PackageError, match=f"the head '{name}' cannot be built"):
            build(name, **arguments)
