from __future__ import annotations

import threading

import pytest
import torch

from brainof.utils.threads import side_by_side


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_operators_have_what_is_left_of_the_processors(two_threads):
    for found in side_by_side(lambda _: torch.get_num_threads(), range(3), 2):
        assert found == torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_results_come_in_order_and_few_jobs_are_taken_ahead():
    taken, both = [], threading.Barrier(2, timeout=10)

    def jobs():
        for number in range(6):
            taken.append(number)
            yield number

    def work(number):
        both.wait()  # only two threads at once come past this
        return number

    results = []
    for result in side_by_side(work, jobs(), 2):
        results.append(result)
        assert len(taken) <= len(results) + 2
    assert results == list(range(6))


def test_one_thread_is_the_callers():
    assert list(side_by_side(lambda _: threading.get_ident(), range(2), 1)) == [threading.get_ident()] * 2


def test_an_error_ends_the_rest(two_threads):
    done = []

    def work(number):
        if number == 1:
            raise ValueError("one")
        done.append(number)

    with pytest.raises(ValueError, match="one"):
        list(side_by_side(work, range(100), 2))
    assert len(done) < 10
    assert torch.get_num_threads() == 2
