"""The budget for work that is sent again."""

from embedfleet.gateway.dispatch.repeat_budget import Budget


def test_a_budget_gives_its_burst_and_then_its_share():
    budget = Budget(0.1, 100)
    assert budget.spend(100, sent=0)
    assert not budget.spend(1, sent=0)
    assert budget.spend(5, sent=50)
    assert not budget.spend(1, sent=50)
    assert not budget.spend(101, sent=10**6)
    assert budget.spend(100, sent=10**6)
