"""Which queue a worker asks first: always the first of a list, or each as often as its weight says."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videojobs import ConfigurationError
from videojobs.turns import QueueTurns

weighted = st.dictionaries(
    st.sampled_from(["default", "night", "bulk", "posters", "urgent"]),
    st.integers(1, 20),
    min_size=1,
)


def orders(turns: QueueTurns, count: int) -> list[tuple[str, ...]]:
    """Return the next so many orders."""
    return [turns.next_order() for _ in range(count)]


def firsts(turns: QueueTurns, count: int) -> list[str]:
    """Return who is first in each of the next so many orders."""
    return [order[0] for order in orders(turns, count)]


def test_a_sequence_is_asked_in_its_order_each_time():
    """Without weights the first queue is always first: the others get what it leaves."""
    turns = QueueTurns(["urgent", "default", "night"])

    assert orders(turns, 4) == [("urgent", "default", "night")] * 4


def test_weights_of_5_1_and_1_are_spread_as_nginx_spreads_them():
    """The heavy queue is never first five times in a row while the others wait."""
    turns = QueueTurns({"a": 5, "b": 1, "c": 1})

    assert firsts(turns, 7) == ["a", "a", "b", "a", "c", "a", "a"]


def test_the_others_follow_by_whose_turn_is_nearest():
    """An empty first queue gives its turn to the one that has waited the longest for its share."""
    turns = QueueTurns({"a": 3, "b": 2, "c": 1})

    assert orders(turns, 3) == [("a", "b", "c"), ("b", "c", "a"), ("a", "c", "b")]


def test_equal_weights_take_turns_in_the_order_given():
    """Queues of the same weight are first one after the other."""
    turns = QueueTurns({"a": 4, "b": 4, "c": 4})

    assert firsts(turns, 6) == ["a", "b", "c", "a", "b", "c"]


@given(weighted)
def test_each_queue_is_first_exactly_as_often_as_its_weight(weights):
    """Over a cycle, as many claims as the weights are together, the shares are exact; and in the next."""
    turns = QueueTurns(weights)
    cycle = sum(weights.values())

    first, second = firsts(turns, cycle), firsts(turns, cycle)

    assert Counter(first) == weights
    assert second == first


@given(weighted)
def test_no_queue_is_ever_far_from_its_share(weights):
    """After any number of claims, nobody is ahead or behind by a turn for each of the queues."""
    cycle = sum(weights.values())
    asked = Counter()

    for claims, name in enumerate(islice(iter(QueueTurns(weights).next_order, None), cycle), 1):
        asked[name[0]] += 1
        for queue, weight in weights.items():
            assert abs(asked[queue] - Fraction(claims * weight, cycle)) < len(weights)


@given(weighted, st.integers(1, 50))
def test_every_order_names_every_queue_once(weights, claims):
    """Whatever is first, the others are asked too."""
    assert {tuple(sorted(order)) for order in orders(QueueTurns(weights), claims)} == {
        tuple(sorted(weights))
    }


@pytest.mark.parametrize("queues", ["default", "", [], (), {}])
def test_a_bare_name_and_no_names_are_refused(queues):
    """A string is not taken for a list of letters, and a worker of no queue would wait for ever."""
    with pytest.raises(ConfigurationError, match="must be one or more names"):
        QueueTurns(queues)


@pytest.mark.parametrize("weight", [0, -1])
def test_weights_below_one_are_refused(weight):
    """A queue that is never first is left out, not given a weight of 0."""
    with pytest.raises(ConfigurationError, match="whole numbers from 1"):
        QueueTurns({"default": 1, "night": weight})


@pytest.mark.parametrize("weight", [1.5, float("nan"), True])
def test_weights_that_are_no_whole_numbers_are_refused(weight):
    """The message says whole numbers, and so it is."""
    with pytest.raises(ConfigurationError, match="whole numbers from 1"):
        QueueTurns({"default": 1, "night": weight})


def test_weights_as_text_are_refused():
    """As a configuration file may hold them."""
    with pytest.raises(ConfigurationError, match="whole numbers from 1"):
        QueueTurns({"default": "3"})


def test_a_name_given_twice_is_asked_once():
    """Every queue is asked once for each claim."""
    assert QueueTurns(["default", "night", "default"]).next_order() == ("default", "night")
