"""Intake: makes single or coalesced requests from clients' exchanges, and gives them to the dispatcher."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from typing_extensions import override

from embedfleet.dialects.error_reply import render_error
from embedfleet.dialects.request_texts import read_texts
from embedfleet.errors import Internal, RequestError, ServingError, Validation, WrongHeader
from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.gateway.dispatch.replica_speed import BatchCost
from embedfleet.gateway.dispatch.request import Request, counts_as_online
from embedfleet.gateway.requests.attempt import Sending
from embedfleet.gateway.requests.client_request import ClientRequest
from embedfleet.gateway.requests.coalesced_request import CoalescedRequest, Fallback
from embedfleet.gateway.requests.coalescer import Coalescer, Group
from embedfleet.gateway.requests.context import RequestContext
from embedfleet.gateway.requests.delivery import delivery_of
from embedfleet.gateway.requests.executor import Executor
from embedfleet.gateway.requests.no_token_refusal import Examiner, Witness
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.gateway.upstream.forwarding import RequestFields
from embedfleet.http.cors import CORS
from embedfleet.http.exchange import Exchange

log = logging.getLogger(__name__)

_COALESCED_BYTES: Final = 8192  # most bytes of a body that may be coalesced


class Intake(Fallback):
    """Makes requests from clients' exchanges, and gives them to the dispatcher.

    Args:
        settings: Settings of the gateway.
        dispatcher: Dispatcher of the service.
        executor: Executor of its commands.
        context: Counters, clock and ids that all requests share.
        witnesses: Function that returns the replicas that can tokenize a text, the best first.

    Attributes:
        own_path: Route for which ``/`` is an alias with this model; empty until the model is known.
        estimate: Function that estimates the tokens of a text from its number of characters.
        input_tokens: Most tokens of one input that every serving replica takes; estimates of longer ones are capped.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        dispatcher: Dispatcher,
        executor: Executor,
        context: RequestContext,
        witnesses: Callable[[], list[Witness]],
    ) -> None:
        self.own_path = ""
        self.input_tokens = Capabilities().input_tokens
        self._dispatcher = dispatcher
        self._executor = executor
        self._context = context
        self._most_texts = settings.request_texts
        self._limits = settings.dispatch
        self._coalescer = Coalescer() if settings.coalesce else None
        self._examiner = Examiner(self.take, witnesses, context.now)
        self.estimate = dispatcher.estimate.tokens
        self._loop = asyncio.get_running_loop()
        self._now = context.now

    def stop(self) -> None:
        """Cancel all examinations of inputs."""
        self._examiner.stop()

    def forget_model(self) -> None:
        """Forget everything that depends on the pool's model, because the model has changed."""
        self._examiner.forget()

    def handle(self, exchange: Exchange) -> None:
        """Read a client's request, and dispatch it alone or coalesced."""
        fields = exchange.head.note
        if not isinstance(fields, RequestFields):
            fields = RequestFields.of(exchange)
        if self._coalescer is None or not fields.may_coalesce or len(exchange.body) > _COALESCED_BYTES:
            self.take_alone(exchange, self._now())
        elif self._coalescer.add(exchange):
            self._loop.call_soon(self._take_coalesced)

    def take(self, request: Request, now: float) -> None:
        """Give a request to the dispatcher."""
        try:
            replica = self._dispatcher.assign(request, now)
            if replica is not None:
                self._executor.send(request, replica, now)
            else:
                self._executor.execute(self._dispatcher.arrived(request, now))
        except Exception as error:  # noqa: BLE001 - `broke` logs it
            self._executor.broke(request, error)

    @override
    def take_alone(self, exchange: Exchange, now: float) -> None:
        try:
            client = self._client_request(exchange)
            request = self._request(client, now)
            if client.refusal is not None:
                client.refuse(request, client.refusal, "", now)
                return
            texts = client.texts
            doubts = texts.maybe_tokenless() if texts is not None else None
            if doubts and self._dispatcher.serving:
                self._examiner.examine(request, client, doubts)
                return
        except Exception as error:  # noqa: BLE001 - `give_up` logs it
            give_up(exchange, error)
            return
        self.take(request, now)

    @override
    def refuse_alone(self, exchange: Exchange, now: float, error: RequestError | ServingError, reason: str) -> None:
        try:
            client = self._client_request(exchange)
            client.refuse(self._request(client, now), error, reason, self._now())
        except Exception as fault:  # noqa: BLE001 - `give_up` logs it
            give_up(exchange, fault)

    # internals

    def _client_request(self, exchange: Exchange) -> ClientRequest:
        """Read a client's request."""
        fields = exchange.head.note
        assert isinstance(fields, RequestFields), "`handle` has read the head"
        texts, refusal = None, None
        if fields.method == b"POST":
            try:
                texts = read_texts(fields.path, fields.content_type, exchange.body, self._most_texts, self.own_path)
            except Validation as error:
                refusal = error.with_traceback(None)  # the traceback refers to this frame: a cycle
        estimate = self._dispatcher.estimate.tokens
        costs = [estimate(len(exchange.body))] if texts is None else texts.costs(estimate)
        client = ClientRequest(self._context, exchange, fields, texts, costs)
        if fields.fault:
            client.refusal = WrongHeader(fields.fault)
        elif refusal is not None:
            client.refusal = refusal
        return client

    def _request(self, client: ClientRequest, now: float) -> Request:
        """Make the dispatcher's request for a client's request; ``now`` is the time at which it arrived."""
        texts, fields, most = client.texts, client.fields, self.input_tokens
        tokens = sum(client.costs)
        if tokens > most:
            client.costs = [min(cost, most) for cost in client.costs]
            tokens = sum(client.costs)
        is_online = fields.is_online
        if is_online is None:
            is_rerank = texts is not None and texts.is_rerank
            is_online = counts_as_online(len(client.costs), tokens, is_rerank=is_rerank)
        limits = self._limits
        request = Request(
            client,
            tokens=tokens,
            texts=1 if texts is None else texts.count + texts.extra_inputs,
            size_bytes=len(client.exchange.body),
            is_online=is_online,
            now=now,
            timeout_s=fields.timeout_s or (limits.online_deadline_s if is_online else limits.bulk_deadline_s),
        )
        request.sending = Sending(client)
        if texts is None:
            request.is_inference = False
        client.exchange.on_gone = partial(self._client_left, request)
        return request

    def _take_coalesced(self) -> None:
        """Dispatch the requests that arrived in one turn of the event loop, coalesced where possible."""
        assert self._coalescer is not None, "it has collected the requests"
        now, serving = self._now(), self._dispatcher.serving
        alone, groups = self._coalescer.take(self._dispatcher.estimate.tokens)
        cost = serving[0].pace.cost if serving else BatchCost()
        for whole in groups:
            for group in whole.split(cost, self._dispatcher.batch_texts):
                request = self._coalesced_request(group, now) if len(group.texts) > 1 else None
                if request is None:
                    alone += group.exchanges
                else:
                    self.take(request, now)
        for exchange in alone:
            if exchange.gone:
                self._context.counters.add_client_gone()
            else:
                self.take_alone(exchange, now)

    def _coalesced_request(self, group: Group, now: float) -> Request | None:
        """Make one request of a group; return None if that fails, so that each is sent alone."""
        try:
            coalesced = CoalescedRequest(self._context, self, group)
        except Exception:
            log.exception("requests could not be coalesced, and are sent alone")
            return None
        request = Request(
            coalesced,
            tokens=sum(group.costs),
            texts=len(group.texts),
            size_bytes=len(coalesced.body),
            is_online=True,
            now=now,
            timeout_s=group.fields.timeout_s or self._limits.online_deadline_s,
        )
        request.sending = Sending(coalesced)
        request.is_shared = True
        on_gone = partial(self._client_left, request)
        for exchange in group.exchanges:
            exchange.on_gone = on_gone
        return request

    def _client_left(self, request: Request) -> None:
        """Handle a client that left; give up the request if no other client waits for it."""
        self._context.counters.add_client_gone()
        if delivery_of(request).client_left():
            self._executor.leave(request)


def give_up(exchange: Exchange, error: Exception) -> None:
    """Answer a client with an error, because the gateway's own code failed before its request was dispatched."""
    log.error("the gateway failed to take a request", exc_info=error)
    if exchange.begun:
        exchange.abort()
    else:
        status, headers, body = render_error(exchange.path, Internal("the gateway failed on this request"))
        exchange.respond(status, [*headers, *CORS], body)
