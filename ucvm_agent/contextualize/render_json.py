"""Shows programs what a plan would do, as JSON; `render_text.py` is for people and needs none of this."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from ucvm_agent.contextualize.actions import Change, Effect
from ucvm_agent.contextualize.plan import Step
from ucvm_agent.contextualize.preview import Preview
from ucvm_agent.userdata.context import Problem, Severity

if TYPE_CHECKING:
    from ucvm_agent.contextualize.apply import Applied


class Shown(BaseModel):
    """The base of what the JSON form is made of."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class ProblemItem(Shown):
    """A problem in the JSON form; `line` counts from 1, and is null if unknown."""

    severity: Severity
    part: str
    line: int | None
    message: str
    hint: str


class ActionItem(Shown):
    """An action in the JSON form; `diff` is a unified diff, or for what has none a line that says the same."""

    contextualizer: str
    kind: str
    target: str
    change: Effect
    diff: str


class Summary(Shown):
    """How many actions there are of each effect, and problems of each severity."""

    create: int
    update: int
    delete: int
    run: int
    none: int
    errors: int
    warnings: int
    notes: int


class FailureItem(Shown):
    """An action that failed, in the JSON form."""

    contextualizer: str
    kind: str
    target: str
    reason: str


class End(Shown):
    """How a plan that was carried out ended; `skipped` actions needed one that failed."""

    changed: int
    unchanged: int
    failed: int
    skipped: int
    failures: list[FailureItem]
    seconds: float


class Document(Shown):
    """The JSON form of a preview.

    Arguments:
        context: the digest of the user-data.
        applied: there only if the plan was carried out after the preview.
    """

    source: str
    context: str
    problems: list[ProblemItem]
    actions: list[ActionItem]
    summary: Summary
    applied: End | None = None


def render_json(preview: Preview, applied: Applied | None = None) -> str:
    """Return the preview, and how the plan ended if it was carried out, as JSON: a `Document`."""
    plan = preview.plan
    document = Document(
        source=preview.source,
        context=plan.context.digest,
        problems=[_problem_item(problem) for problem in plan.problems],
        actions=[_action_item(step, change) for step, change in zip(plan.steps, preview.changes, strict=True)],
        summary=Summary(
            **{effect.value: preview.effects[effect] for effect in Effect},
            errors=preview.severities[Severity.ERROR],
            warnings=preview.severities[Severity.WARNING],
            notes=preview.severities[Severity.NOTE],
        ),
        applied=End.model_validate(applied) if applied else None,
    )
    return document.model_dump_json(indent=2, exclude=None if applied else {"applied"}) + "\n"


def _problem_item(problem: Problem) -> ProblemItem:
    place = problem.place
    return ProblemItem(
        severity=problem.severity,
        part=place.part,
        line=place.line or None,
        message=problem.message,
        hint=problem.hint,
    )


def _action_item(step: Step, change: Change) -> ActionItem:
    return ActionItem(
        contextualizer=step.contextualizer,
        kind=step.action.kind,
        target=step.action.target,
        change=change.effect,
        diff="" if change.effect is Effect.NONE else change.diff or change.summary,
    )
