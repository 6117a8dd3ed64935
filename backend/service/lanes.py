"""Jobs in order: one at a time on each device, cancelled whether they wait or run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from backend.protocol.errors import ProtocolError
from backend.protocol.jobs import Job
from backend.protocol.messages import EventBody, LastEvent, Queued, Stopped
from backend.tasks.context import Context

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Ticket:
    """A job on its way through the service.

    Attributes:
        id: of the request.
        job: what to do.
        context: its ear and mouth.
        device: what it computes on; None until that is known.
        running: whether its turn has come.
        ended: whether its last event is on its way.
    """

    id: str
    job: Job
    context: Context
    device: str | None = None
    running: bool = False
    ended: bool = False


class Lanes:
    """All jobs of this process.

    Args:
        tell: sends an event about a job.
        place: checks a ticket's job, finds its device and notes it there; gives the last event when that fails.
        perform: does a ticket's job and gives its last event.
    """

    def __init__(
        self,
        tell: Callable[[str, EventBody], None],
        place: Callable[[Ticket], LastEvent | None],
        perform: Callable[[Ticket], LastEvent],
    ) -> None:
        self._tell, self._place, self._perform = tell, place, perform
        self._changed = threading.Condition()
        self._tickets: dict[str, Ticket] = {}  # all that have not ended, in the order they came
        self._lanes: dict[str, SimpleQueue[Ticket]] = {}
        self._incoming: SimpleQueue[Ticket] = SimpleQueue()
        _start(self._dispatch, "dispatch")

    def submit(self, number: str, job: Job) -> None:
        """Put a job at the end of its device's lane.

        Raises:
            ProtocolError: a job with this id has not ended yet.
        """
        ticket = Ticket(number, job, Context(lambda event: self._tell(number, event)))
        with self._changed:
            if number in self._tickets:
                raise ProtocolError(f'the id "{number}" is in use', "a job of this id has not ended yet")
            self._tickets[number] = ticket
        log.info("job %s: %s", number, job)
        self._incoming.put(ticket)

    def __contains__(self, number: str) -> bool:
        """Whether there is such a job that has not ended."""
        ticket = self._tickets.get(number)
        return ticket is not None and not ticket.ended

    def cancel(self, number: str) -> None:
        """Stop a job; one that has not begun ends at once. Nothing happens when there is no such job (any more)."""
        with self._changed:
            ticket = self._tickets.get(number)
            if ticket is None or ticket.ended:
                return
            ticket.context.cancel()
            ticket.ended = waits = not ticket.running
        log.info("job %s is to be cancelled", number)
        if waits:
            self._say_last(ticket, Stopped())

    def cancel_all(self, wait_s: float) -> None:
        """Stop every job and wait for them to end, but not for ever."""
        for number in list(self._tickets):
            self.cancel(number)
        with self._changed:
            self._changed.wait_for(lambda: not self._tickets, wait_s)

    def summary(self) -> list[dict[str, Any]]:
        """The jobs that have not ended, as JSON values, in the order they came."""
        with self._changed:
            return [
                {"job": ticket.id, "kind": ticket.job.kind, "device": ticket.device, "running": ticket.running}
                for ticket in self._tickets.values()
            ]

    def _dispatch(self) -> None:
        """Check each job and find its device, which may take a while, and pass the job on. Order is kept."""
        while True:
            ticket = self._incoming.get()
            failure = self._place(ticket)
            if failure is not None:
                self._end(ticket, failure)
                continue
            device = ticket.device or ""
            ahead = self._ahead(ticket)
            if ahead:
                self._tell(ticket.id, Queued(device, ahead))
            if device not in self._lanes:
                self._lanes[device] = SimpleQueue()
                _start(self._work, f"lane {device}", self._lanes[device])
            self._lanes[device].put(ticket)

    def _ahead(self, ticket: Ticket) -> int:
        """Jobs on the same device that came before; 0 for one that was cancelled meanwhile."""
        with self._changed:
            numbers = [other.id for other in self._tickets.values() if other.device == ticket.device]
            return numbers.index(ticket.id) if ticket.id in numbers else 0

    def _work(self, lane: SimpleQueue[Ticket]) -> None:
        while True:
            ticket = lane.get()
            with self._changed:
                ticket.running = not ticket.ended
            if ticket.running:
                self._end(ticket, self._perform(ticket))

    def _end(self, ticket: Ticket, last: LastEvent) -> None:
        with self._changed:
            if ticket.ended:
                return  # cancelled before its turn came; that was said already
            ticket.ended = True
        self._say_last(ticket, last)

    def _say_last(self, ticket: Ticket, last: LastEvent) -> None:
        log.info("job %s ended: %s", ticket.id, last.kind)
        self._tell(ticket.id, last)
        with self._changed:  # only now, so that a shutdown waits until it is said
            del self._tickets[ticket.id]
            self._changed.notify_all()


def _start(target: Callable[..., None], name: str, *arguments: Any) -> None:
    threading.Thread(target=target, args=arguments, name=name, daemon=True).start()
