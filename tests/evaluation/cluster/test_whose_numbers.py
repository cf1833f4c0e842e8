"""Workers that round otherwise are left out, or counted as what they are: other machines."""

import os
import signal
import time

import pytest
import rounding

from qa_lib import Evaluator, QAWarning, explore
from qa_lib.errors import ClusterError
from qa_lib.evaluation.enumeration import enumerate_settings
from qa_lib.evaluation.live import LiveEvaluator

pytestmark = pytest.mark.slow

SETTINGS = [[bits, 8 - index % 6, bits, 3] for index, bits in enumerate((2, 3, 4, 5, 6, 7, 8, 4))]


def everything(evaluations):
    """What is compared, and what is not: sums and divergences."""
    return [(e.bit_widths, e.score, e.sums, e.divergences) for e in evaluations]


@pytest.fixture
def evaluator_of(qmodel, images, labels, client, tmp_path):
    """Makes evaluators that share an archive."""

    def make(**options):
        return Evaluator(qmodel, images, labels, batch_size=8, archive=tmp_path / "archive.sqlite", **options)

    return make


def test_they_are_left_out_and_none_left_is_an_error(evaluator_of, client, round_otherwise):
    round_otherwise()
    with (
        pytest.warns(QAWarning, match="finds other numbers on the first batches"),
        pytest.raises(ClusterError, match="none of the 2 workers can stand for this machine"),
    ):
        there = evaluator_of(client=client)
        there.evaluate_many(SETTINGS)
    client.run(rounding.mend_it)  # who asks again asks them again
    assert everything(there.evaluate_many(SETTINGS)) == everything(evaluator_of().evaluate_many(SETTINGS))


def test_asked_for_their_numbers_are_archived_as_theirs(evaluator_of, client, round_otherwise):
    with evaluator_of() as here:
        own = here.evaluate_many(SETTINGS)
    with rounding.broken(), evaluator_of(hardest_first=False) as like_them:
        images = like_them.images
        expected = [(e.bit_widths, e.score) for e in like_them.evaluate_many(SETTINGS)]
    round_otherwise()
    with evaluator_of(client=client, numbers_of="workers") as there:
        assert there.known() == []
        found = there.evaluate_many(SETTINGS)
        assert [(e.bit_widths, e.score) for e in found] == expected
        assert [e.divergences for e in found] != [e.divergences for e in own]
    with evaluator_of(client=client, numbers_of="workers") as again:
        again.evaluate([8] * 4)  # the images of the checks
        before = again.images_forwarded
        assert everything(again.evaluate_many(SETTINGS)) == everything(found)
        assert again.images_forwarded - before < images
    with evaluator_of() as here:
        assert everything(here.known()) == everything(own)
        assert len(here.archive.check().contents) == 3


def test_what_most_find_counts(evaluator_of, client, cluster, round_otherwise):
    cluster.scale(3)
    client.wait_for_workers(3, timeout=60)
    odd, *others = client.nthreads()
    round_otherwise(others)
    there = evaluator_of(client=client, numbers_of="workers")
    with pytest.warns(QAWarning, match=f"a worker is left out, {odd}: it finds other numbers"):
        found = there.evaluate_many(SETTINGS)
    assert set(there._runner.remote.fleet.greeting.believed) == set(others)
    assert everything(found) != everything(evaluator_of().evaluate_many(SETTINGS))


def test_a_search_on_the_same_client_keeps_to_them(evaluator_of, client, round_otherwise):
    round_otherwise()
    there = evaluator_of(client=client, numbers_of="workers")
    options = {"full_passes": 40, "population_size": 8, "progress": False}
    found = explore(there, client=client, **options)
    assert everything(found.candidates) == everything(explore(there, **options).candidates)
    assert everything(found.candidates) != everything(explore(there.on(None), **options).candidates)


def test_who_does_not_answer_is_not_waited_for(evaluator_of, client, round_otherwise, monkeypatch):
    round_otherwise()
    monkeypatch.setattr("qa_lib.evaluation.cluster.greeting._PATIENCE", 1.0)
    pids = client.run(os.getpid)
    silent = min(pids)
    os.kill(pids[silent], signal.SIGSTOP)
    try:
        with pytest.warns(
            QAWarning, match=f"{silent} have not answered for 1 s: the numbers of the 1 others count"
        ):
            evaluator_of(client=client, numbers_of="workers").evaluate([4] * 4)
    finally:
        os.kill(pids[silent], signal.SIGCONT)


def test_when_those_that_count_have_gone_others_do_not_take_their_place(
    evaluator_of, client, cluster, round_otherwise
):
    cluster.scale(1)
    while len(client.nthreads()) > 1:
        time.sleep(0.05)
    round_otherwise()
    there = evaluator_of(client=client, numbers_of="workers")
    first = there.evaluate([4] * 4)
    client.run(rounding.mend_it)
    (gone,) = client.run(os.getpid).values()
    os.kill(gone, signal.SIGKILL)
    with (
        pytest.warns(QAWarning, match="a worker is left out"),
        pytest.raises(
            ClusterError, match="the workers whose numbers count have gone, and none of the 1 that are here"
        ),
    ):
        there.evaluate([3] * 4)
    others = there.on(client)
    assert others.evaluate([4] * 4).divergences != first.divergences


def test_of_as_many_those_that_find_what_this_machine_does(evaluator_of, client, round_otherwise):
    round_otherwise([min(client.nthreads())])
    there = evaluator_of(client=client, numbers_of="workers")
    with pytest.warns(QAWarning, match="a worker is left out"):
        there.evaluate_many(SETTINGS)
    assert there.fingerprint() == evaluator_of().fingerprint()


def test_workers_that_say_they_are_others_are_named_in_the_archive_and_the_search(evaluator_of, client):
    import torch

    client.run(torch.set_float32_matmul_precision, "medium")
    try:
        there = evaluator_of(client=client, numbers_of="workers")
        found = explore(there, full_passes=40, population_size=8, progress=False)
    finally:
        client.run(torch.set_float32_matmul_precision, "highest")
    assert found.made.environment["float32_matmul_precision"] == "medium"
    assert torch.get_float32_matmul_precision() == "highest"
    assert found.candidates and there.fingerprint() != evaluator_of().fingerprint()


@pytest.mark.parametrize(
    "measure",
    [
        LiveEvaluator,
        lambda e: enumerate_settings(e, num_bits_lower_limit=2, num_bits_upper_limit=3),
        lambda e: e.record([], e.facts()),
        Evaluator.keep_up,
    ],
    ids=["live", "enumerate", "record", "keep up"],
)
def test_nothing_is_measured_here_beside_theirs(evaluator_of, client, measure):
    there = evaluator_of(client=client, numbers_of="workers")
    with pytest.raises(ClusterError, match=r"numbers are those of its workers.* give evaluator.on\(None\)"):
        measure(there)
    measure(there.on(None))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"numbers_of": "all"}, "numbers_of is 'all'; give one of 'client', 'workers'"),
        ({"numbers_of": None}, "numbers_of is None"),
        ({"numbers_of": "workers"}, "numbers_of is 'workers', and there are none: give client="),
    ],
    ids=["another word", "nothing", "no client"],
)
def test_bad_input(evaluator_of, options, said):
    with pytest.raises(ClusterError, match=said):
        evaluator_of(**options)
