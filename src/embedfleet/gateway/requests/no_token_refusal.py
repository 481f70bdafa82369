"""Refusal of inputs without any token: a server that computes an empty sequence may crash.

TEI 1.9 crashes. It decodes token ids to text first; unknown ids become an empty text. A text of blanks or control
characters has no tokens if the tokenizer adds no special ones. Only the tokenizer can decide this, so a replica is
asked over ``/decode`` and ``/tokenize``, which are safe. This happens only in the rare cases of doubt: for token ids,
and for texts without a visible character.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import orjson

from embedfleet.dialects.routes import path_of
from embedfleet.dialects.splitting.no_token_texts import MaybeTokenless, is_invisible
from embedfleet.errors import (
    DeadlineExceeded,
    Empty,
    Malformed,
    Refused,
    Reset,
    ServingError,
    TimedOut,
    UpstreamError,
    Validation,
)
from embedfleet.gateway.dispatch.request import Request
from embedfleet.gateway.requests.client_request import ClientRequest
from embedfleet.http.client import fetch
from embedfleet.http.message import JSON

log = logging.getLogger(__name__)

_BATCH: Final = 32  # inputs that TEI takes in one request by default
_MOST_KNOWN: Final = 65_536  # most ids that are remembered
_TIMEOUT_S: Final = 2.0  # limit for all questions about one request, which is then admitted
_CALL_S: Final = 0.75  # limit for one question: after two silent replicas, there is time for a third
_PASSED_OVER_S: Final = 10.0  # time for which a silent replica is not asked again
_PLACES: Final = 8  # requests examined at once, each on its own connection
_LEARNT_OF: Final = 256  # most lists of ids that are searched for common ids
_MOST_CALLS: Final = 8  # most questions of one kind about one request; inputs beyond them are admitted
_COUNTED: Final = 1000  # number of ids at the beginning of a list that are decoded first
_CALL_IDS: Final = 32_768  # most ids in one question, so that no question is slow
_REPLY_BYTES: Final = 8_388_608  # the tokens of 32 texts of 1000 characters take some 2 MB
_SHOWN: Final = 8  # ids or characters shown in a message


class Witness(NamedTuple):
    """A replica that can answer questions about inputs.

    Attributes:
        url: Address of the replica.
        batch_texts: Most inputs that the replica takes in one request.
    """

    url: str
    batch_texts: int


class Examiner:
    """Admits requests whose inputs all have a token, as far as a replica can tell, and refuses the others.

    Args:
        take: Function that takes an admitted request, and the time.
        witnesses: Function that returns the replicas that can be asked now, the best first.
        now: Clock of the event loop, in seconds.
    """

    def __init__(
        self,
        take: Callable[[Request, float], None],
        witnesses: Callable[[], list[Witness]],
        now: Callable[[], float],
    ) -> None:
        self._take = take
        self._witnesses = witnesses
        self._now = now
        self._passed_over: dict[str, float] = {}  # time until which an address is not asked
        self._visible: set[int] = set()  # ids that alone decode to visible text
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(_PLACES)

    def forget(self) -> None:
        """Forget all known token ids, because the pool has another model."""
        self._visible.clear()

    def stop(self) -> None:
        """Cancel all questions."""
        for task in self._tasks:
            task.cancel()

    def examine(self, request: Request, client: ClientRequest, doubts: Sequence[MaybeTokenless]) -> None:
        """Start to examine a request; if no replica can tell, the request is admitted.

        Args:
            request: The dispatcher's request.
            client: The client's request behind it.
            doubts: Inputs that may have no token.
        """
        task = asyncio.get_running_loop().create_task(self._examine(request, client, doubts))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _examine(self, request: Request, client: ClientRequest, doubts: Sequence[MaybeTokenless]) -> None:
        found = None
        try:
            async with asyncio.timeout_at(request.deadline), self._places:
                found = await self._ask(client, doubts)
        except TimeoutError:
            now = self._now()
            waited = f"{now - request.arrived:.1f} s"
            error = DeadlineExceeded(f"not answered in {waited}, which is its deadline")
            client.refuse(request, error, "deadline", now)
            return
        except Exception:  # a fault of the gateway's own code must not fail the request
            log.exception("the gateway failed to ask whether each input has a token")
        if client.exchange.gone:
            return
        if found is None:
            self._take(request, self._now())
        else:
            client.refuse(request, _no_token(found), "no-token", self._now())

    async def _ask(self, client: ClientRequest, doubts: Sequence[MaybeTokenless]) -> MaybeTokenless | None:
        """Return the first input without a token, according to the best replica that answers; None if there is none.

        The replica is chosen only when the request has one of the places. Otherwise all waiting requests would ask a
        replica that has meanwhile proved silent, and each would occupy its place until the time is over.
        """
        texts = client.texts
        named = texts.prompt_name if texts is not None else None
        name = named if isinstance(named, str) else None
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                while (witness := self._next_witness()) is not None:
                    try:
                        return await self.tokenless(witness.url, doubts, name, min(witness.batch_texts, _BATCH))
                    except (TimedOut, Refused, Reset) as error:
                        self._pass_over(witness, error)
        except (UpstreamError, TimeoutError) as error:  # other errors may be due to the request itself
            log.debug("it is not known whether each input has a token: %s", error)
        return None

    def _next_witness(self) -> Witness | None:
        """Return the best replica that is not passed over; None if there is none."""
        now = self._now()
        self._passed_over = {url: until for url, until in self._passed_over.items() if until > now}
        return next((witness for witness in self._witnesses() if witness.url not in self._passed_over), None)

    def _pass_over(self, witness: Witness, why: UpstreamError) -> None:
        """Ask a silent replica nothing for some time."""
        if witness.url not in self._passed_over:
            log.warning("%s is not asked about the tokens of inputs for %g s: %s", witness.url, _PASSED_OVER_S, why)
        self._passed_over[witness.url] = self._now() + _PASSED_OVER_S

    async def tokenless(
        self, url: str, doubts: Sequence[MaybeTokenless], prompt_name: str | None, most: int
    ) -> MaybeTokenless | None:
        """Return the first input that proved to have no token; None if there is none.

        Args:
            url: Address of a replica.
            doubts: Inputs that may have no token.
            prompt_name: Name of the request's prompt; None if it names none.
            most: Most inputs that the replica takes in one request.

        Raises:
            UpstreamError: The replica did not answer as TEI does.
        """
        # Replicas refuse an empty list themselves; in a question, it would make the whole question fail.
        ids = [doubt for doubt in doubts if doubt.ids]
        await self._learn(url, [doubt.ids for doubt in ids[:_LEARNT_OF]], most)
        ids = [doubt for doubt in ids if self._visible.isdisjoint(doubt.ids)][: _MOST_CALLS * most]
        # Nearly all lists begin with visible text, so the whole need not be decoded.
        begun = await self._decode(url, [doubt.ids[:_COUNTED] for doubt in ids], most)
        ids = [doubt for doubt, text in zip(ids, begun, strict=True) if _is_blank(text)]
        decoded = await self._decode(url, [doubt.ids for doubt in ids], most)
        # TEI tokenizes decoded ids without special tokens, and puts the prompt before them.
        suspects = [(doubt, text) for doubt, text in zip(ids, decoded, strict=False) if _is_blank(text)]
        options = {} if prompt_name is None else {"prompt_name": prompt_name}
        found = await self._without_token(url, suspects, {"add_special_tokens": False, **options}, most)
        if found is not None:
            return found
        texts = [(doubt, doubt.text) for doubt in doubts if doubt.text][: _MOST_CALLS * most]
        return await self._without_token(url, texts, options, most)

    async def _learn(self, url: str, lists: Sequence[Sequence[int]], most: int) -> None:
        """Find out which of the most frequent ids alone decode to visible text; a list with such an id does too."""
        unknown = [ids[:_COUNTED] for ids in lists if self._visible.isdisjoint(ids)]
        common = [one for one, _ in Counter(one for ids in unknown for one in set(ids)).most_common(most)]
        if not common:
            return
        if len(self._visible) > _MOST_KNOWN:
            self._visible.clear()
        alone = await self._decode(url, [[one] for one in common], most)
        self._visible.update(one for one, text in zip(common, alone, strict=True) if not _is_blank(text))

    async def _decode(self, url: str, lists: Sequence[Sequence[int]], most: int) -> list[str]:
        """Return the texts of the lists, or of the first lists if all would need too many questions."""
        texts: list[str] = []
        for _ in range(_MOST_CALLS):
            if len(texts) == len(lists):
                break
            some: list[Sequence[int]] = []
            left = _CALL_IDS
            for ids in lists[len(texts) : len(texts) + most]:
                if some and len(ids) > left:
                    break
                some.append(ids[:_CALL_IDS])
                left -= len(ids)
            texts += await _ask(
                f"{url}{path_of('decode')}", {"ids": some, "skip_special_tokens": False}, len(some), str
            )
        return texts

    @staticmethod
    async def _without_token(
        url: str, texts: Sequence[tuple[MaybeTokenless, str]], options: dict[str, Any], most: int
    ) -> MaybeTokenless | None:
        """Return the first text without a token; an empty text has none, and is not sent to the replica."""
        for doubt, text in texts:
            if not text:
                return doubt
        for start in range(0, len(texts), most):
            some = texts[start : start + most]
            asked = {"inputs": [text for _, text in some], **options}
            rows = await _ask(f"{url}{path_of('tokenize')}", asked, len(some), list)
            for (doubt, _), tokens in zip(some, rows, strict=True):
                if not tokens:
                    return doubt
        return None


async def _ask(url: str, body: dict[str, Any], count: int, kind: type) -> list[Any]:
    """Return a replica's answers, one per input.

    Args:
        url: Address of the route.
        body: Body of the question.
        count: Number of answers.
        kind: Type of each answer.

    Raises:
        UpstreamError: The reply is not a list of the given length and type.
    """
    asked = orjson.dumps(body)
    reply = await fetch(url, method="POST", body=asked, headers=[JSON], timeout_s=_CALL_S, most_bytes=_REPLY_BYTES)
    try:
        rows = orjson.loads(reply.body) if reply.status == 200 else None
    except orjson.JSONDecodeError:
        rows = None
    if not isinstance(rows, list) or len(rows) != count or not all(isinstance(row, kind) for row in rows):
        raise Malformed(f"{url} answered {reply.status}: {reply.body[:120].decode('utf-8', 'replace')}")
    return rows


def _is_blank(decoded: str) -> bool:
    return not decoded or is_invisible(decoded)


def _no_token(doubt: MaybeTokenless) -> ServingError:
    """Return the error for a client whose input has no token."""
    if doubt.text:
        said = f"`{doubt.place}` cannot be empty"
        return Empty(f"{said}: the model's tokenizer makes no token of {doubt.text[:_SHOWN]!r}")
    said = f"`{doubt.place}` has no tokens: the ids {list(doubt.ids[:_SHOWN])} are nothing in the model's vocabulary"
    hint = "send text (langchain-openai: check_embedding_ctx_length=False), or ids of this model's own tokenizer"
    return Validation(f"{said}; {hint}")
