"""What a context means: in which order, and with which problems."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.contextualize.stand_ins import Deed, contextualizer, named, written
from ucvm_agent.contextualize.actions import RestartUnit, RunCommand, WriteFile
from ucvm_agent.contextualize.base import Action, Context, Contextualizer, Frequency, Options, Reads, Refusal
from ucvm_agent.contextualize.order import order_contextualizers
from ucvm_agent.contextualize.plan import Plan, Step, make_plan
from ucvm_agent.contextualize.system import System
from ucvm_agent.errors import PlanError
from ucvm_agent.userdata.context import Part, Place, Problem, Severity

EMPTY = written({})


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def positions(plan: Plan) -> dict[str, int]:
    return {step.action.target: number for number, step in enumerate(plan.steps)}


def waits(plan: Plan, later: str, earlier: str) -> bool:
    """Whether `later` is done after `earlier`, directly or through others."""
    number = positions(plan)
    reached, todo = set(), [number[later]]
    while todo:
        for each in plan.steps[todo.pop()].waits_for:
            if each not in reached:
                reached.add(each)
                todo.append(each)
    return number[earlier] in reached


def needs(plan: Plan, name: str) -> set[str]:
    return {plan.steps[each].action.target for each in plan.steps[positions(plan)[name]].needs}


# Order


@given(st.data())
def test_every_declared_order_holds(data: st.DataObject) -> None:
    """Whatever contextualizers declare without contradiction, each comes after all that it has to come after."""
    names = data.draw(st.permutations([f"c{number}" for number in range(8)]))
    declared = []
    after: dict[str, list[str]] = {name: [] for name in names}
    before: dict[str, list[str]] = {name: [] for name in names}
    for index, later in enumerate(names):
        for earlier in data.draw(st.sets(st.sampled_from(names[:index]))) if index else ():
            declared.append((earlier, later))
            if data.draw(st.booleans()):
                after[later].append(earlier)
            else:
                before[earlier].append(later)
    made = [contextualizer(name, after=after[name], before=before[name]) for name in sorted(names)]
    ordered = order_contextualizers(made)
    order = list(ordered)
    assert sorted(order) == sorted(names)
    assert all(order.index(earlier) < order.index(later) for earlier, later in declared)
    assert all(earlier in ordered[later] for earlier, later in declared)
    assert list(order_contextualizers(data.draw(st.permutations(made)))) == order


def test_everybody_is_ordered_by_a_star_unless_names_say_otherwise() -> None:
    """So that the scripts are last without knowing third parties, and one of those may still come later."""
    made = [
        contextualizer("a-last", after=["*"]),
        contextualizer("before-last", after=["*"], before=["a-last"]),
        contextualizer("first", before=["*"]),
        contextualizer("later", after=["a-last"]),
        contextualizer("latest", after=["later"]),
        contextualizer("middle"),
        contextualizer("zero", before=["first"]),
    ]
    ordered = order_contextualizers(made)
    assert list(ordered) == ["zero", "first", "middle", "before-last", "a-last", "later", "latest"]
    assert ordered["a-last"] == {"zero", "first", "middle", "before-last"}


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True))
def test_a_cycle_is_an_error_that_names_it(names: list[str]) -> None:
    made = [
        contextualizer(name, after=[earlier])
        for name, earlier in zip(names, names[-1:] + names[:-1], strict=True)
        if len(names) > 1
    ] or [contextualizer(names[0], after=names)]
    first = names.index(min(names))
    around = names[first:] + names[:first]
    with pytest.raises(PlanError, match=" before ".join([*around, around[0]])):
        order_contextualizers([*made, contextualizer("z", after=["a"])])


def test_contextualizers_without_order_run_at_the_same_time(system: System) -> None:
    """One contextualizer's actions wait for each other, and for nobody who is not declared to be earlier."""
    plan = make_plan(
        EMPTY,
        system,
        [
            contextualizer("b", [Deed(name="b1"), Deed(name="b2")]),
            contextualizer("a", [Deed(name="a1"), Deed(name="a2")]),
            contextualizer("c", [Deed(name="c1")], after=["a", "unheard-of"]),
        ],
    )
    assert [step.action.target for step in plan.steps] == ["a1", "a2", "b1", "b2", "c1"]
    assert [step.waits_for for step in plan.steps] == [(), (0,), (), (2,), (1,)]
    assert not any(step.needs for step in plan.steps)


def test_order_reaches_through_one_who_wants_nothing(system: System) -> None:
    made = [
        contextualizer("a", [Deed(name="a1")], before=["b"]),
        contextualizer("b"),
        contextualizer("c", [Deed(name="c1")], after=["b"]),
    ]
    assert waits(make_plan(EMPTY, system, made), "c1", "a1")


@given(st.data())
def test_every_plan_can_be_done_one_by_one(data: st.DataObject) -> None:
    """Whatever actions give and take, each waits only for ones before it, and the own order of each stays."""
    resources = st.frozensets(st.sampled_from(sorted(named("thing", *"uvwxyz"))), max_size=3)
    deed = st.builds(Deed, name=st.sampled_from("klmnopqrst"), gives=resources, takes=resources)
    owners = {name: data.draw(st.lists(deed, max_size=6)) for name in "abcd"}
    made = [contextualizer(name, deeds, after="a" if name == "c" else "") for name, deeds in owners.items()]
    system = System(Path("/nonexistent"))
    plan = make_plan(EMPTY, system, made)
    assert plan == make_plan(EMPTY, system, made[::-1])
    for name, deeds in owners.items():
        assert [step.action for step in plan.steps if step.contextualizer == name] == deeds
    for number, step in enumerate(plan.steps):
        assert all(each < number for each in step.waits_for)
        assert set(step.needs) <= set(step.waits_for)
        assert all(plan.steps[each].action.provides() & step.action.requires() for each in step.needs)
    assert len({step.key for step in plan.steps}) == len(plan.steps)


def test_what_is_needed_is_made_first(system: System) -> None:
    """A file that belongs to a new user waits for the user, although the alphabet says otherwise."""
    plan = make_plan(
        EMPTY,
        system,
        [
            contextualizer("files", [Deed(name="file", takes=named("user", "atlas"))]),
            contextualizer("users", [Deed(name="user", gives=named("user", "atlas"))]),
        ],
    )
    assert [step.action.target for step in plan.steps] == ["user", "file"]
    assert needs(plan, "file") == {"user"}


def test_a_declared_order_is_never_turned_around_by_a_need(system: System) -> None:
    plan = make_plan(
        EMPTY,
        system,
        [
            contextualizer("files", [Deed(name="file", takes=named("user", "atlas"))], before=["users"]),
            contextualizer("users", [Deed(name="user", gives=named("user", "atlas"))]),
        ],
    )
    assert [step.action.target for step in plan.steps] == ["file", "user"]
    assert needs(plan, "file") == set()


def test_needs_that_go_round_in_a_circle_do_not_stop_the_plan(system: System) -> None:
    plan = make_plan(
        EMPTY,
        system,
        [
            contextualizer("a", [Deed(name="a1", takes=named("x", "1")), Deed(name="a2", gives=named("x", "2"))]),
            contextualizer("b", [Deed(name="b1", takes=named("x", "2")), Deed(name="b2", gives=named("x", "1"))]),
        ],
    )
    assert len(plan.steps) == 4
    assert needs(plan, "a1") | needs(plan, "b1") in ({"b2"}, {"a2"})


def test_an_account_that_is_there_anyway_is_no_need(tmp_path: Path) -> None:
    """If root cannot get a new password, root's files are written all the same, only later."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    plan = make_plan(
        EMPTY,
        System(tmp_path),
        [
            contextualizer("files", [Deed(name="file", takes=named("user", "root"))]),
            contextualizer("users", [Deed(name="user", gives=named("user", "root"))]),
        ],
    )
    assert waits(plan, "file", "user")
    assert needs(plan, "file") == set()


def test_two_that_act_on_the_same_thing_take_turns(system: System) -> None:
    """Of two contextualizers that write to the same path, the later in the plan has the last word."""
    plan = make_plan(
        EMPTY,
        system,
        [contextualizer(name, [Deed(name=name, gives=named("path", "/etc/motd"))]) for name in ("b", "a", "c")],
    )
    assert [step.waits_for for step in plan.steps] == [(), (0,), (1,)]
    assert not any(step.needs for step in plan.steps)


# Keys


def test_a_key_tells_the_same_action_again(system: System) -> None:
    """The same wish has the same key in another plan; a second one like it, or another's, has another key."""
    deeds = [Deed(name="x"), Deed(name="x"), Deed(name="y")]
    first = make_plan(EMPTY, system, [contextualizer("a", deeds), contextualizer("b", deeds)])
    again = make_plan(EMPTY, system, [contextualizer("b", [Deed(name="w"), *deeds])])
    keys = {(step.contextualizer, number): step.key for number, step in enumerate(first.steps)}
    assert len(set(keys.values())) == 6
    assert [step.key for step in again.steps][1:] == [step.key for step in first.steps if step.contextualizer == "b"]


CONFIGURATION = "/etc/ssh/sshd_config"


@pytest.mark.parametrize(
    "follower",
    [
        RestartUnit(unit="ssh.service", because=(CONFIGURATION,)),
        RunCommand(argv=("reload", "ssh"), because=(CONFIGURATION,)),
    ],
)
def test_what_follows_a_file_is_due_again_when_the_file_is_another(follower: Action, system: System) -> None:
    def plan(content: bytes) -> Step:
        made = [
            contextualizer("a", [WriteFile(path=CONFIGURATION, content=content)]),
            contextualizer("b", [follower]),
        ]
        return make_plan(EMPTY, system, made[::-1]).steps[-1]

    assert plan(b"one") == plan(b"one")
    assert plan(b"one").key != plan(b"two").key
    assert plan(b"one").needs == (0,)


def test_an_action_can_overrule_the_frequency(system: System) -> None:
    deeds = [Deed(name="x"), Deed(name="y", frequency=Frequency.ONCE)]
    plan = make_plan(EMPTY, system, [contextualizer("a", deeds, frequency=Frequency.BOOT)])
    assert [step.frequency for step in plan.steps] == [Frequency.BOOT, Frequency.ONCE]


# Problems


class Motd(Options):
    motd: Annotated[str, Reads("motd", "[site] motd")] = ""
    password: Annotated[SecretStr, Reads("password")] = SecretStr("")


CONTEXT = written(
    {"motd": "x", "password": "hunter2", "[site]": {"motd": "x"}},
    {("motd",): (1, 1), ("password",): (2, 1), ("[site]", "motd"): (5, 1)},
)


def one(context_problems: tuple[Problem, ...]) -> Problem:
    assert len(context_problems) == 1
    return context_problems[0]


def plan_with(error: Exception, system: System) -> Plan:
    def actions() -> Iterator[Deed]:
        yield Deed(name="first")
        raise error

    return make_plan(
        CONTEXT,
        system,
        [contextualizer("motd", actions, options=Motd), contextualizer("other", [Deed(name="other")])],
    )


def test_a_refusal_is_an_error_at_the_key(system: System) -> None:
    """What came before it stands, and so does everybody else's part."""
    plan = plan_with(Refusal("password", "it is too simple", "take a longer one"), system)
    assert one(plan.problems) == Problem(
        Severity.ERROR, Place("user-data", 2, 1), "password: it is too simple", "take a longer one"
    )
    assert list(positions(plan)) == ["first", "other"]


def test_a_value_that_an_action_does_not_take_is_an_error(system: System) -> None:
    problem = one(plan_with(ValueError("the path has to be absolute"), system).problems)
    assert problem == Problem(Severity.ERROR, Place("user-data", 1, 1), "motd: the path has to be absolute")


def test_a_secret_never_gets_into_a_problem(system: System) -> None:
    problem = one(plan_with(ValueError("invalid literal: 'hunter2'"), system).problems)
    assert "hunter2" not in repr(problem)


def test_a_defect_in_a_contextualizer_takes_nothing_else_with_it(system: System) -> None:
    plan = plan_with(KeyError("hunter2"), system)
    problem = one(plan.problems)
    assert problem.message == "the contextualizer motd failed: KeyError"
    assert problem.severity is Severity.ERROR
    assert list(positions(plan)) == ["first", "other"]


def test_what_is_no_action_is_a_defect(system: System) -> None:
    plan = make_plan(EMPTY, system, [contextualizer("a", ["rm -rf /"])])
    assert plan.steps == ()
    assert one(plan.problems).message == "the contextualizer a failed: TypeError"


def test_problems_come_in_the_order_of_the_text_and_once(system: System) -> None:
    """Those of the machine first, then those of the user-data, whoever found them."""
    own = Problem(Severity.WARNING, Place("first", 9), "found by the decoder")
    context = written(
        {"mots": "x"},
        {("mots",): (3, 1)},
        parts=(Part("first", "text/plain"), Part("user-data", "text/plain")),
        problems=(own, Problem(Severity.WARNING, Place("user-data", 1), "found first"), own),
    )
    extra = Problem(Severity.WARNING, Place("/etc/ucvm-agent/contextualizers.d/x"), "left out")
    plan = make_plan(context, system, [contextualizer("motd", options=Motd)], [extra])
    assert [problem.message for problem in plan.problems] == [
        "left out",
        "found by the decoder",
        "found first",
        "unknown key mots",
    ]
    assert plan.problems[-1].hint == "did you mean motd?"


# Who takes part


@pytest.mark.parametrize(
    "value", ["Motd rootsshkeys", "motd,rootsshkeys", "motd, rootsshkeys", ["motd", "rootsshkeys"]]
)
def test_user_data_can_leave_contextualizers_out(system: System, value: object) -> None:
    """By their own name or by the amiconfig plugin that they stand for, in any notation."""
    context = written({"[amiconfig]": {"disabled_plugins": value}}, {("[amiconfig]", "disabled_plugins"): (2, 3)})
    made = [
        contextualizer("motd", [Deed(name="motd")]),
        contextualizer("ssh_keys", [Deed(name="keys")], amiconfig=["rootsshkeys"]),
        contextualizer("users", [Deed(name="users")], after=["ssh_keys"]),
    ]
    plan = make_plan(context, system, made)
    assert list(positions(plan)) == ["users"]
    assert [(problem.severity, problem.place.line) for problem in plan.problems] == [(Severity.NOTE, 2)] * 2


def test_the_section_of_a_plugin_that_is_left_out_is_not_read(system: System) -> None:
    """What other formats say about the same thing still counts."""
    disabled = {"[amiconfig]": {"disabled_plugins": "site squid"}, "[site]": {"motd": "from the plugin"}}

    class Both(Options):
        motd: Annotated[str, Reads("[site] motd", "motd")] = ""

    class Teller(Contextualizer[Both]):
        name = "teller"
        options = Both

        def plan(self, options: Both, context: Context, system: System) -> Iterable[Action]:
            yield Deed(name=options.motd)

    plan = make_plan(written({**disabled, "motd": "from YAML"}), system, [Teller()])
    assert [step.action for step in plan.steps] == [Deed(name="from YAML")]
    assert [problem.message for problem in plan.problems] == [
        "the section [site] is left out, as [amiconfig] disabled_plugins says"
    ]


def test_a_plugin_that_nobody_stands_for_is_a_warning(system: System) -> None:
    context = written({"[amiconfig]": {"plugins": "cernvm rootshkeys"}}, {("[amiconfig]", "plugins"): (2, 1)})
    made = [contextualizer("cernvm"), contextualizer("ssh_keys", amiconfig=["rootsshkeys"])]
    problem = one(make_plan(context, system, made).problems)
    assert problem.severity is Severity.WARNING
    assert "rootshkeys" in problem.message
    assert problem.hint == "did you mean rootsshkeys?"


def test_keys_of_a_contextualizer_that_the_settings_disable_are_no_typing_mistakes(system: System) -> None:
    context = written({"motd": "x"}, {("motd",): (1, 1)})
    plan = make_plan(context, system, [], disabled=[contextualizer("motd", options=Motd)])
    problem = one(plan.problems)
    assert problem.severity is Severity.NOTE
    assert problem.message == "motd has no effect: the settings disable the contextualizer motd"
