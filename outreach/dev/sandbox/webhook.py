"""Posts events to the webhook as SendGrid does: signed, in batches, several at once, until taken.

Events wait in a heap by the moment they are to be posted; a loop cuts what is due into bodies, and
each body has a task that posts it, again and again at growing intervals, until it gets a 2xx. A
repeat of a post has the same body and a fresh timestamp and signature.
"""

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any

import aiohttp

from outreach.dev.sandbox.events import Mail, body_of, event_bytes, event_of
from outreach.dev.sandbox.fates import Step
from outreach.dev.sandbox.settings import POST_BYTES_MAX, SandboxSettings
from outreach.dev.sandbox.signing import Signing, SigningKey

_POSTS_AHEAD = 4


class Post:
    """One body on its way."""

    def __init__(self, body: bytes, kinds: Counter[str]) -> None:
        self.body = body
        self.kinds = kinds
        self.events = kinds.total()
        self.ended = asyncio.Event()


class WebhookSender:
    """Owns the events that wait and the posts under way."""

    def __init__(self, settings: SandboxSettings, key: SigningKey) -> None:
        self._settings = settings
        self._key = key
        self._forger = SigningKey(settings.seed + 1)
        self.url = settings.webhook_url
        self.events: Counter[str] = Counter()
        """Events that the webhook took, by SendGrid's name; repeats count."""
        self.posts = 0
        self.failures = 0
        self.given_up = 0
        self.discarded = 0
        self.last_status: int | None = None
        self._heap: list[tuple[float, int, Mail, Step]] = []
        self._order = 0
        self._under_way: set[Post] = set()
        self._events_under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(settings.posts_max)
        self._running = asyncio.Event()
        self._running.set()
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None

    @property
    def pending(self) -> int:
        """Events that the webhook has not yet taken."""
        return len(self._heap) + self._events_under_way

    @property
    def paused(self) -> bool:
        return not self._running.is_set()

    async def start(self) -> None:
        timeout = aiohttp.ClientTimeout(total=self._settings.post_timeout_seconds)
        connector = aiohttp.TCPConnector(limit=self._settings.posts_max + 4)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        self._spawn(self._loop())

    async def stop(self) -> None:
        """End at once; what was not taken is forgotten."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def plan(self, mail: Mail, steps: Sequence[Step]) -> None:
        """Put the events of a mail in line; without a webhook address there are none."""
        if self.url is None:
            return
        if self.pending >= self._settings.pending_max:
            self.discarded += sum(len(step.posted_after) for step in steps)
            return
        now = time.monotonic()
        earliest = self._heap[0][0] if self._heap else float("inf")
        for step in steps:
            for after in step.posted_after:
                self._order += 1
                due = now + after * self._settings.time_scale
                heapq.heappush(self._heap, (due, self._order, mail, step))
        if self._heap[0][0] < earliest:
            self._news.set()

    def pause(self) -> None:
        """Post nothing more until resumed; a post under way ends."""
        self._running.clear()

    def resume(self) -> None:
        self._running.set()
        self._news.set()

    async def flush(self, timeout_seconds: float) -> bool:
        """Post everything that waits, due or not, paused or not; True when all of it was taken."""
        given_up = self.given_up
        waiting, self._heap = sorted(self._heap), []
        self._launch([(mail, step) for _, _, mail, step in waiting])
        under_way = list(self._under_way)
        if not under_way:
            return True
        self._hurry.set()
        ended = [asyncio.ensure_future(post.ended.wait()) for post in under_way]
        try:
            _, late = await asyncio.wait(ended, timeout=timeout_seconds)
        finally:
            self._hurry.clear()
            for waiter in ended:
                waiter.cancel()
        return not late and self.given_up == given_up

    async def post(self, body: bytes, signing: Signing, timestamp: str | None = None) -> int | None:
        """Post these bytes once, now; the webhook's status, or None when there was none."""
        if self.url is None or self._session is None:
            return None
        timestamp = timestamp or str(int(time.time()))
        headers = {"Content-Type": "application/json", "User-Agent": "SendGrid Event API"}
        if signing is not Signing.NONE:
            key = self._key if signing is Signing.TRUE else self._forger
            headers |= key.headers(body, timestamp)
        self.posts += 1
        try:
            async with self._session.post(
                self.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                await answer.read()
                self.last_status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            self.last_status = None
        return self.last_status

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _loop(self) -> None:
        """Cut what is due into posts, no more often than `batch_seconds`."""
        while True:
            await self._running.wait()
            self._news.clear()
            await self._until_due()
            await asyncio.sleep(self._settings.batch_seconds)
            while self._has_room() and (due := self._due()):
                self._launch(due)
                # Between bodies others get their turn: mail must not wait for events.
                await asyncio.sleep(0)

    def _has_room(self) -> bool:
        """Whether more bodies may be made: beyond a few, events wait as what they are, smaller."""
        ahead = len(self._under_way) < _POSTS_AHEAD * self._settings.posts_max
        return ahead and self._running.is_set()

    def _due(self) -> list[tuple[Mail, Step]]:
        """Take at most one body's worth of the events that are due."""
        due: list[tuple[Mail, Step]] = []
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            if len(due) >= self._settings.batch_events_max:
                break
            _, _, mail, step = heapq.heappop(self._heap)
            due.append((mail, step))
        return due

    async def _until_due(self) -> None:
        """Return when the first event is due, or when there is news of an earlier one."""
        wait = self._heap[0][0] - time.monotonic() if self._heap else None
        if wait is not None and wait <= 0:
            return
        try:
            async with asyncio.timeout(wait):
                await self._news.wait()
        except TimeoutError:
            return

    def _launch(self, events: list[tuple[Mail, Step]]) -> None:
        """Cut events into bodies within both bounds, and start posting them."""
        now = time.time()
        parts: list[bytes] = []
        kinds: Counter[str] = Counter()
        size = 0
        for mail, step in events:
            happened = mail.accepted_unix + step.happens_after * self._settings.time_scale
            event = event_of(mail, step, min(happened, now))
            part = event_bytes(event)
            full = size + len(part) > POST_BYTES_MAX - 1024
            if parts and (full or len(parts) >= self._settings.batch_events_max):
                self._begin(Post(body_of(parts), kinds))
                parts, kinds, size = [], Counter(), 0
            parts.append(part)
            kinds[event["event"]] += 1
            size += len(part) + 3
        if parts:
            self._begin(Post(body_of(parts), kinds))

    def _begin(self, post: Post) -> None:
        self._under_way.add(post)
        self._events_under_way += post.events
        self._spawn(self._deliver(post))

    async def _deliver(self, post: Post) -> None:
        """Post until it is taken or given up."""
        give_up_at = time.monotonic() + self._settings.retry_for_seconds
        interval = self._settings.retry_first_seconds
        try:
            while not await self._taken(post):
                self.failures += 1
                if time.monotonic() >= give_up_at:
                    self.given_up += 1
                    return
                await self._pause_before_retry(interval)
                interval = min(interval * 2, self._settings.retry_last_seconds)
            self.events += post.kinds
        finally:
            self._under_way.discard(post)
            self._events_under_way -= post.events
            post.ended.set()

    async def _taken(self, post: Post) -> bool:
        async with self._slots:
            status = await self.post(post.body, Signing.TRUE)
        return status is not None and 200 <= status < 300

    async def _pause_before_retry(self, seconds: float) -> None:
        """Wait the interval out; a flush cuts it short, a pause makes it longer."""
        if self._hurry.is_set():
            # A hurried retry still leaves the webhook room to recover.
            await asyncio.sleep(self._settings.retry_first_seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            await self._unpaused_or_hurried()

    async def _unpaused_or_hurried(self) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self._running, self._hurry)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
