"""Jobs behind the pages: one at a time, shared, and ended when somebody asks for it."""

import threading

import pytest
from streamlit.testing.v1 import AppTest

from usad_workbench.core.errors import Cancelled, StoreError
from usad_workbench.core.progress import Progress
from usad_workbench.workbench import jobs


def test_who_asks_for_the_same_gets_the_same_and_one_works_at_a_time() -> None:
    go, order = threading.Event(), []

    def first(progress: Progress) -> str:
        progress(1, 4, "a step")
        go.wait(10)
        order.append("first")
        return "done"

    job = jobs.start("first", first)
    second = jobs.start("second", lambda progress: order.append("second"))
    assert jobs.start("first", first) is job
    assert not second.is_done
    go.set()
    assert job.future.result(10) == "done" and job.share == 0.25
    second.future.result(10)
    assert order == ["first", "second"]


def test_a_job_is_ended_at_its_next_step() -> None:
    begun, go = threading.Event(), threading.Event()

    def work(progress: Progress) -> None:
        begun.set()
        go.wait(10)
        progress(1, 2, "half")

    job = jobs.start("ended", work)
    begun.wait(10)
    job.cancel()
    go.set()
    with pytest.raises(Cancelled):
        job.future.result(10)


def test_an_error_is_told_and_the_work_can_begin_again() -> None:
    def fails(progress: Progress) -> None:
        raise StoreError("no room")

    with pytest.raises(StoreError):
        jobs.start("fails", fails).future.result(10)
    jobs.forget("fails")
    assert jobs.start("fails", lambda progress: 1).future.result(10) == 1


def test_what_was_cancelled_is_no_error_and_can_be_started_again() -> None:
    def page() -> None:
        from usad_workbench.core.errors import Cancelled
        from usad_workbench.core.progress import Progress
        from usad_workbench.workbench.widgets.job import await_result

        def work(progress: Progress) -> str:
            raise Cancelled("by somebody")

        assert await_result(("cancelled",), "Working", work) is None

    shown = AppTest.from_function(page).run()
    assert not shown.exception and not shown.error
    (info,) = shown.info
    assert info.value.startswith("Cancelled.")
    assert [button.label for button in shown.button] == ["Start again"]
