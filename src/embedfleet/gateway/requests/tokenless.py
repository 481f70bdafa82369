"""Inputs of which the model's tokenizer makes no token at all: a server that computes such a sequence may end over it.

TEI 1.9 does. Token ids are decoded to text first, unknown ones to nothing; a text of blanks or control characters is
nothing to a tokenizer that adds no special tokens. Only the tokenizer knows, so a replica is asked by its own
``/decode`` and ``/tokenize``, which answer safely; but only where there is doubt, which is rare: token ids, and
texts without a visible character.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import orjson

from embedfleet.dialects.routes import path_of
from embedfleet.dialects.splitting.tokenless import MaybeTokenless, is_invisible
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
from embedfleet.gateway.requests.attempt import Desk
from embedfleet.gateway.requests.client_request import Flight
from embedfleet.http.client import fetch
from embedfleet.http.message import JSON

log = logging.getLogger(__name__)

_BATCH: Final = 32  # the most that TEI takes at once by default
_MOST_KNOWN: Final = 65_536
_TIMEOUT_S: Final = 2.0  # for all that is asked about a request: then it is let in
_CALL_S: Final = 0.75  # for one question: two silent servers leave time for a third
_PASSED_OVER_S: Final = 10.0  # for which a server that was silent is not asked again
_PLACES: Final = 8  # requests that are asked about at once, each on a connection of its own
_LEARNT_OF: Final = 256  # lists of ids
_MOST_CALLS: Final = 8  # of one kind, about one request: the rest of its inputs is let in
_COUNTED: Final = 1000  # ids of a list
_CALL_IDS: Final = 32_768  # of one question, so that no request makes it a slow one
_REPLY_BYTES: Final = 8_388_608  # the tokens of 32 texts of 1000 characters take some 2 MB
_SHOWN: Final = 8  # ids or characters in a message


class Witness(NamedTuple):
    """A replica that can be asked.

    Attributes:
        url: where.
        batch_texts: inputs that it takes at once.
    """

    url: str
    batch_texts: int


class Examiner:
    """Lets requests in whose inputs have tokens, as far as a replica can tell, and refuses the others.

    Args:
        desk: that requests go on to.
        witnesses: tells who can be asked now, the best first.
    """

    def __init__(self, desk: Desk, witnesses: Callable[[], list[Witness]]) -> None:
        self._desk = desk
        self._witnesses = witnesses
        self._passed_over: dict[str, float] = {}  # until when, by address
        self._visible: set[int] = set()  # ids that are something by themselves
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(_PLACES)

    def forget(self) -> None:
        """The pool has another model, whose ids are others."""
        self._visible.clear()

    def stop(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()

    def examine(self, flight: Flight, doubts: Sequence[MaybeTokenless]) -> None:
        """Ask replicas about a request; what they cannot tell is let in.

        Args:
            flight: the request.
            doubts: those of its inputs that may have no token.
        """
        task = asyncio.get_running_loop().create_task(self._examine(flight, doubts))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _examine(self, flight: Flight, doubts: Sequence[MaybeTokenless]) -> None:
        found = None
        try:
            async with asyncio.timeout_at(flight.deadline), self._places:
                found = await self._ask(flight, doubts)
        except TimeoutError:
            waited = f"{self._desk.now() - flight.arrived:.1f} s"
            flight.refuse(DeadlineExceeded(f"not answered in {waited}, which is its deadline"), "deadline")
            return
        except Exception:  # of ours: the request is no worse for it
            log.exception("the gateway failed to ask whether each input has a token")
        if flight.exchange.gone:
            return
        if found is None:
            self._desk.take(flight, self._desk.now())
        else:
            flight.refuse(_no_token(found), "no-token")

    async def _ask(self, flight: Flight, doubts: Sequence[MaybeTokenless]) -> MaybeTokenless | None:
        """What the best of those who answer says.

        Who is asked is chosen only now that there is a place. Else all that wait for one would go to a server that is
        known to be silent, and each would hold its place for as long as that takes.
        """
        texts = flight.asked_texts
        named = texts.prompt_name if texts is not None else None
        name = named if isinstance(named, str) else None
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                while (witness := self._next_witness()) is not None:
                    try:
                        return await self.tokenless(witness.url, doubts, name, min(witness.batch_texts, _BATCH))
                    except (TimedOut, Refused, Reset) as error:
                        self._pass_over(witness, error)
        except (UpstreamError, TimeoutError) as error:  # who answers otherwise may do so for what is in this request
            log.debug("it is not known whether each input has a token: %s", error)
        return None

    def _next_witness(self) -> Witness | None:
        """The best that is not passed over."""
        now = self._desk.now()
        self._passed_over = {url: until for url, until in self._passed_over.items() if until > now}
        return next((witness for witness in self._witnesses() if witness.url not in self._passed_over), None)

    def _pass_over(self, witness: Witness, why: UpstreamError) -> None:
        """Ask a server that said nothing no more for some time."""
        if witness.url not in self._passed_over:
            log.warning("whether inputs have tokens is not asked of %s for %g s: %s", witness.url, _PASSED_OVER_S, why)
        self._passed_over[witness.url] = self._desk.now() + _PASSED_OVER_S

    async def tokenless(
        self, url: str, doubts: Sequence[MaybeTokenless], prompt_name: str | None, most: int
    ) -> MaybeTokenless | None:
        """The first input that is a sequence of no tokens; None if each has one, as far as was asked.

        Args:
            url: of a replica.
            doubts: inputs that may have no token.
            prompt_name: of the request, None if it names none.
            most: inputs that the replica takes at once.

        Raises:
            UpstreamError: the replica did not answer as TEI does.
        """
        # Whoever computes it refuses an empty list; asked about, it would end the question about the others.
        ids = [doubt for doubt in doubts if doubt.ids]
        await self._learn(url, [doubt.ids for doubt in ids[:_LEARNT_OF]], most)
        ids = [doubt for doubt in ids if self._visible.isdisjoint(doubt.ids)][: _MOST_CALLS * most]
        # Nearly all lists begin with something, and need not be asked about whole.
        begun = await self._decode(url, [doubt.ids[:_COUNTED] for doubt in ids], most)
        ids = [doubt for doubt, text in zip(ids, begun, strict=True) if _is_blank(text)]
        decoded = await self._decode(url, [doubt.ids for doubt in ids], most)
        # TEI puts no special tokens around what was decoded, and a prompt is decoded with it.
        suspects = [(doubt, text) for doubt, text in zip(ids, decoded, strict=False) if _is_blank(text)]
        options = {} if prompt_name is None else {"prompt_name": prompt_name}
        found = await self._without_token(url, suspects, {"add_special_tokens": False, **options}, most)
        if found is not None:
            return found
        texts = [(doubt, doubt.text) for doubt in doubts if doubt.text][: _MOST_CALLS * most]
        return await self._without_token(url, texts, options, most)

    async def _learn(self, url: str, lists: Sequence[Sequence[int]], most: int) -> None:
        """Of the ids that occur most, find out which are something by themselves: then their lists are too."""
        unknown = [ids[:_COUNTED] for ids in lists if self._visible.isdisjoint(ids)]
        common = [one for one, _ in Counter(one for ids in unknown for one in set(ids)).most_common(most)]
        if not common:
            return
        if len(self._visible) > _MOST_KNOWN:
            self._visible.clear()
        alone = await self._decode(url, [[one] for one in common], most)
        self._visible.update(one for one, text in zip(common, alone, strict=True) if not _is_blank(text))

    async def _decode(self, url: str, lists: Sequence[Sequence[int]], most: int) -> list[str]:
        """The texts of the first lists: of all, unless they are so long that it would take too many questions."""
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
        """The first of texts that the replica makes no token of; an empty one has none, and cannot be asked about."""
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
    """A list of so many answers of a kind.

    Raises:
        UpstreamError: there is none.
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
    """What a client hears of an input without a token."""
    if doubt.text:
        said = f"`{doubt.place}` cannot be empty"
        return Empty(f"{said}: the model's tokenizer makes no token of {doubt.text[:_SHOWN]!r}")
    said = f"`{doubt.place}` has no tokens: the ids {list(doubt.ids[:_SHOWN])} are nothing in the model's vocabulary"
    hint = "send text (langchain-openai: check_embedding_ctx_length=False), or ids of this model's own tokenizer"
    return Validation(f"{said}; {hint}")
