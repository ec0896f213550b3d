"""Shows what a plan would do: text for people (`render_text.py`), JSON for programs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from ucvm_agent.contextualize.actions import Change, Effect
from ucvm_agent.contextualize.plan import Step
from ucvm_agent.contextualize.preview import Preview, preview
from ucvm_agent.contextualize.render_text import render_text
from ucvm_agent.userdata.context import Problem, Severity

__all__ = ["Document", "Preview", "preview", "render_json", "render_text"]


class Shown(BaseModel):
    """The base of what the JSON form is made of; built when first used, since text needs none of it."""

    model_config = ConfigDict(frozen=True, defer_build=True)


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


class Document(Shown):
    """The JSON form of a preview; `context` is the digest of the user-data."""

    source: str
    context: str
    problems: list[ProblemItem]
    actions: list[ActionItem]
    summary: Summary


def render_json(preview: Preview) -> str:
    """Return the preview as JSON: a `Document`."""
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
    )
    return document.model_dump_json(indent=2) + "\n"


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
