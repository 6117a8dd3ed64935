"""Which function answers which request. Tasks are imported when they are first asked for: `hello` must not wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backend.protocol.jobs import (
    AssessJob,
    ChangeJob,
    DesignJob,
    EmbedJob,
    ExportJob,
    InstallJob,
    LearnJob,
    RemoveJob,
    SceneJob,
    SegmentJob,
)
from backend.protocol.messages import (
    DescribeModel,
    FitModels,
    Inspect,
    ListModels,
    ListSensors,
    Plan,
    VerifyModel,
)
from backend.tasks.context import Context

Answer = dict[str, Any]


def _scene(job: SceneJob, context: Context) -> Answer:
    from backend.tasks import scene

    return scene.run(job, context)


def _learn(job: LearnJob, context: Context) -> Answer:
    from backend.tasks import learn

    return learn.run(job, context)


def _check_learn(job: LearnJob) -> None:
    from backend.tasks import learn

    learn.check(job)


def _assess(job: AssessJob, context: Context) -> Answer:
    from backend.tasks import assess

    return assess.assess(job, context)


def _design(job: DesignJob, context: Context) -> Answer:
    from backend.tasks import assess

    return assess.design(job, context)


def _export(job: ExportJob, context: Context) -> Answer:
    from backend.tasks import export

    return export.run(job, context)


def _install(job: InstallJob, context: Context) -> Answer:
    from backend.tasks import models

    return models.install(job, context)


def _remove(job: RemoveJob, context: Context) -> Answer:
    from backend.tasks import models

    return models.remove(job)


def _inspect(query: Inspect) -> Answer:
    from backend.tasks import inspect

    return inspect.inspect(query.paths)


def _plan(query: Plan) -> Answer:
    from backend.tasks import plan

    return plan.plan(query.job)


def _list_models(query: ListModels) -> Answer:
    from backend.tasks import models

    return {"models": models.list_models()}


def _describe_model(query: DescribeModel) -> Answer:
    from backend.tasks import models

    return models.describe(query.name)


def _verify_model(query: VerifyModel) -> Answer:
    from backend.tasks import models

    return models.verify(query.name, query.compute)


def _fit_models(query: FitModels) -> Answer:
    from backend.tasks import fit

    return fit.fit(query)


def _list_sensors(query: ListSensors) -> Answer:
    from backend.tasks import fit

    return fit.sensors()


def _check_scene(job: SceneJob) -> None:
    from backend.tasks import scene

    scene.check(job)


SCENE_JOBS: tuple[type, ...] = (SegmentJob, EmbedJob, ChangeJob)
# What can be said against a job before it waits for its turn; raises `InputError`.
CHECKS: dict[type, Callable[[Any], None]] = {**dict.fromkeys(SCENE_JOBS, _check_scene), LearnJob: _check_learn}
# One line per kind of job and query.
JOBS: dict[type, Callable[[Any, Context], Answer]] = {
    **dict.fromkeys(SCENE_JOBS, _scene),
    LearnJob: _learn,
    AssessJob: _assess,
    DesignJob: _design,
    ExportJob: _export,
    InstallJob: _install,
    RemoveJob: _remove,
}
QUERIES: dict[type, Callable[[Any], Answer]] = {
    Inspect: _inspect,
    Plan: _plan,
    ListModels: _list_models,
    DescribeModel: _describe_model,
    VerifyModel: _verify_model,
    FitModels: _fit_models,
    ListSensors: _list_sensors,
}
