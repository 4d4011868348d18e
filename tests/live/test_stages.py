"""Threads with short queues: order, loss, errors and endings."""

import itertools
import os
import signal
import threading
import time

import pytest

from fer_lab.live.stages import Channel, Stages


def test_every_item_passes_every_stage_in_order():
    stages = Stages(range(200), [lambda x: x + 1, lambda x: 2 * x], size=2, lossless=True)
    assert list(stages.run()) == [2 * (x + 1) for x in range(200)]
    assert stages.dropped == [0, 0, 0]
    assert not any(thread.is_alive() for thread in stages.threads)


def test_a_full_queue_drops_its_oldest_item():
    channel = Channel(2, lossless=False)
    assert all(channel.put(item) for item in range(5))
    channel.finish()
    assert (list(channel.get()), channel.dropped) == ([3, 4], 3)


def test_a_slow_stage_loses_frames_but_never_holds_more_than_its_queue():
    sent = threading.Event()

    def source():
        yield from range(50)
        sent.set()

    def slow(item):
        sent.wait(10)  # longer than the source needs for everything
        return item

    stages = Stages(source(), [slow], size=3, lossless=False)
    seen = list(stages.run())
    # the first may have been taken before the queue was full, the last three always arrive
    assert seen[-3:] == [47, 48, 49]
    assert len(seen) <= 4
    assert sum(stages.dropped) == 50 - len(seen)


def test_without_loss_a_fast_source_waits():
    ahead = 0
    most = 0

    def source():
        nonlocal ahead, most
        for item in range(30):
            ahead += 1
            most = max(most, ahead)
            yield item

    stages = Stages(source(), [lambda x: x], size=2, lossless=True)
    for _ in stages.run():
        time.sleep(0.002)
        ahead -= 1
    assert most <= 2 + 2 + 3  # two queues, and one in each hand
    assert sum(stages.dropped) == 0


@pytest.mark.parametrize("where", [0, 1, 2])
def test_an_error_anywhere_arrives_after_what_was_done_before_it(where):
    def fail(stage):
        def work(item):
            if stage == where and item == 3:
                raise ValueError(f"stage {stage}")
            return item

        return work

    stages = Stages(map(fail(0), itertools.count()), [fail(1), fail(2)], size=2, lossless=True)
    seen = []
    with pytest.raises(ValueError, match=f"stage {where}"):  # noqa: PT012
        for item in stages.run():
            seen.append(item)
    assert seen == [0, 1, 2]
    assert not any(thread.is_alive() for thread in stages.threads)


def test_a_stop_ends_an_endless_source():
    stages = Stages(itertools.count(), [lambda x: x], size=2, lossless=True)
    seen: list[int] = []
    for item in stages.run(lambda: len(seen) >= 5):
        seen.append(item)
    assert seen == [0, 1, 2, 3, 4]
    assert not any(thread.is_alive() for thread in stages.threads)


def test_a_stop_is_heard_while_nothing_comes():
    silent = threading.Event()

    def source():
        yield 1
        silent.wait(60)

    stop = []
    stages = Stages(source(), [], size=2, lossless=True, gone=silent)
    for _ in stages.run(lambda: bool(stop)):
        threading.Timer(0.05, stop.append, [1]).start()
    assert stop == [1]
    assert not any(thread.is_alive() for thread in stages.threads)  # the source was told


def test_an_impatient_interrupt_still_waits_for_a_stage_to_leave_its_work():
    inside, left = threading.Event(), []

    def busy(item):
        inside.set()
        time.sleep(0.4)  # the stop is heard within half of this; then the run waits for this stage
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        left.append(item)
        return item

    with pytest.raises(KeyboardInterrupt):
        list(Stages(range(1), [busy], size=1, lossless=True).run(inside.is_set))
    assert left == [0]
