"""A dispatcher whose requests are numbers, for tests that tell it histories."""

from embedfleet.gateway.dispatcher import Command, Dispatcher, DispatchLimits, Failure, Refuse, Relay, Request, Send


class NumberedDispatcher:
    """Takes and gives numbers where the dispatcher takes and gives requests; the rest is the dispatcher's."""

    def __init__(self, limits: DispatchLimits | None = None) -> None:
        self.real = Dispatcher(limits)
        self._requests: dict[int, Request] = {}

    def __getattr__(self, name: str):
        return getattr(self.real, name)

    def arrived(self, number: int, size_bytes: int, now: float) -> list:
        """Assign it or let it wait, as the proxy does."""
        request = self._requests[number] = Request(size_bytes, now)
        replica = self.real.assign(request, now)
        return [Send(number, replica.id)] if replica is not None else self._numbered(self.real.wait(request))

    def answered(self, number: int, status: int, now: float, tokens: int | None = None) -> list:
        """None is what it stands for."""
        commands = self.real.answered(self._requests[number], status, now, tokens)
        return [Relay(number)] if commands is None else self._numbered(commands)

    def failed(self, number: int, failure: Failure, now: float) -> list:
        return self._numbered(self.real.failed(self._requests[number], failure, now))

    def left(self, number: int, now: float) -> list:
        return self._numbered(self.real.left(self._requests[number], now))

    def set_members(self, replicas: list[str], now: float) -> list:
        return self._numbered(self.real.set_members(replicas, now))

    def probed(self, replica: str, reason: str, now: float) -> list:
        return self._numbered(self.real.probed(replica, reason, now))

    def tick(self, now: float) -> list:
        return self._numbered(self.real.tick(now))

    def _numbered(self, commands: list[Command]) -> list:
        numbers = {request: number for number, request in self._requests.items()}
        for command in commands:
            if isinstance(command, Send | Relay | Refuse):
                command.request = numbers[command.request]
        return commands
