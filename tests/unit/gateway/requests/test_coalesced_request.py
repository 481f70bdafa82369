"""Coalesced requests: each client gets its own answer or is served alone."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.dialects.splitting.apportioning import apportioned
from embedfleet.errors import Overloaded
from embedfleet.gateway.dispatch.replica_speed import BatchCost
from embedfleet.gateway.requests.coalesced_request import CoalescedRequest, Fallback
from embedfleet.gateway.requests.coalescer import Coalescer, Group
from tests.unit.gateway.requests.clients import NOW, context, exchange, parse, replied, request_of, with_outcomes

COSTS = st.lists(st.integers(1, 50), min_size=1, max_size=80)


class Alone(Fallback):
    """Records the exchanges that are to be served or refused alone."""

    def __init__(self):
        self.taken, self.refused = [], []

    def take_alone(self, exchange, now):
        self.taken.append((exchange, now))

    def refuse_alone(self, exchange, now, error, reason):
        self.refused.append((exchange, reason))


def coalesced(texts):
    """Make a coalesced request of these texts, the dispatcher's request, its fallback, the clients, and the metrics."""
    clients = [exchange(orjson.dumps({"inputs": text})) for text in texts]
    first = clients[0][0].head
    for asked, _ in clients:
        asked.head = first  # as if all came from one client library
    coalescer = Coalescer()
    for asked, _ in clients:
        coalescer.add(asked)
    alone, (group,) = coalescer.take(int)
    assert alone == []
    shared, registry = context()
    fallback = Alone()
    made = CoalescedRequest(shared, fallback, group)
    return made, request_of(made, len(texts)), fallback, clients, registry


@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=2, max_size=20), st.integers(0, 500))
def test_each_client_gets_its_own_vector_and_its_share_of_the_tokens(texts, tokens):
    def check(outcomes):
        made, request, fallback, clients, registry = coalesced(texts)
        body = orjson.dumps([[number + 0.5] for number in range(len(texts))])
        made.check(request, body)
        call = replied(outcomes, made, request, body, headers=[(b"x-compute-tokens", b"%d" % tokens)])
        made.relay(request, call, NOW + 1)
        answers = [parse(wire.data) for _, wire in clients]
        assert [(status, body) for status, _, body in answers] == [
            (200, b"[[%d.5]]" % number) for number in range(len(texts))
        ]
        fields = [dict(fields) for _, fields, _ in answers]
        assert sum(int(one[b"x-compute-tokens"]) for one in fields) == (tokens or request.tokens)
        assert [int(one[b"x-compute-characters"]) for one in fields] == [len(text) for text in texts]
        assert len({one[b"x-request-id"] for one in fields}) == len(texts)
        assert all(int(one[b"content-length"]) == len(body) for one, (_, _, body) in zip(fields, answers, strict=True))
        assert fallback.taken == []
        assert registry["embedfleet_requests_total"].value("online", "200").value == len(texts)

    with_outcomes(check)


def test_after_an_error_every_client_that_is_still_there_is_served_alone():
    def check(outcomes):
        made, request, fallback, clients, _ = coalesced(["a", "b", "c"])
        clients[1][0].leave()
        made.relay(request, replied(outcomes, made, request, b"{}", status=422), NOW + 1)
        assert fallback.taken == [(clients[0][0], NOW), (clients[2][0], NOW)]
        assert all(wire.data == b"" for _, wire in clients)

    with_outcomes(check)


def test_each_client_is_refused_on_its_own():
    made, request, fallback, clients, _ = coalesced(["a", "b"])
    made.refuse(request, Overloaded(retry_after_s=1), "online-queue", NOW)
    assert fallback.refused == [(asked, "online-queue") for asked, _ in clients]


def test_the_request_goes_on_until_the_last_client_has_left():
    made, _, _, _, _ = coalesced(["a", "b", "c"])
    assert [made.client_left() for _ in range(3)] == [False, False, True]


def test_other_parameters_make_another_group_and_a_text_that_may_have_no_token_goes_alone():
    bodies = [{"inputs": "a"}, {"inputs": "b", "truncate": True}, {"inputs": "c"}, {"inputs": " "}, {"inputs": ["d"]}]
    came = [exchange(orjson.dumps(body))[0] for body in bodies]
    for asked in came:
        asked.head = came[0].head
    coalescer = Coalescer()
    assert [coalescer.add(asked) for asked in came] == [True, False, False, False, False]
    alone, groups = coalescer.take(int)
    assert alone == came[3:]
    assert [group.texts for group in groups] == [["a", "c"], ["b"]]
    assert coalescer.take(int) == ([], [])


@given(COSTS, st.integers(1, 40), st.integers(1, 300))
def test_groups_are_within_their_limits_and_lose_no_text(costs, most_texts, most_tokens):
    asked, _ = exchange(b"{}")
    whole = Group(asked.head.note, b"", [asked] * len(costs), [str(n) for n in range(len(costs))], costs)
    groups = whole.split(BatchCost(a_s=float(most_tokens), b_s=1.0), most_texts)
    assert [text for group in groups for text in group.texts] == whole.texts
    assert [cost for group in groups for cost in group.costs] == costs
    for group in groups:
        assert len(group.texts) <= most_texts
        assert sum(group.costs) <= most_tokens or len(group.texts) == 1


@given(st.integers(0, 10_000), COSTS)
def test_shares_add_up_and_are_nearly_proportional(total, shares):
    numbers = apportioned(total, shares)
    assert sum(numbers) == total
    assert all(abs(number - total * share / sum(shares)) <= 1 for number, share in zip(numbers, shares, strict=True))
