"""Events of the pool: members are added and removed, replicas are drained, doubted and probed."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.gateway.dispatch.replica_speed import BatchCost
from embedfleet.types import ReplicaState

NAMES = ["a", "b", "c", "d"]
ABILITIES = Capabilities(batch_tokens=2000, batch_texts=8, permits=40, body_bytes=9000)
COST = BatchCost(0.003, 1e-4)


class PoolEvents(RuleBasedStateMachine):
    """The part of a history that concerns the pool; `History` has the state and reports events by `tell`."""

    @rule(
        data=st.data(),
        what=st.sampled_from(["members", "drain", "undrain", "distrust", "doubt", "change_model", "probe", "probe"]),
    )
    def change_pool(self, data, what):
        if what == "members":
            self.change_members(data.draw(st.sets(st.sampled_from(NAMES), min_size=1)))
        elif what == "probe" and self.probing:
            name = data.draw(st.sampled_from(sorted(self.probing)))
            data.draw(st.sampled_from([self.well_probed, self.badly_probed, self.unprobed]))(name)
        elif what == "change_model":
            self.change_model()
        elif what != "probe":
            getattr(self, what)(data.draw(st.sampled_from(sorted(self.members))))

    def change_members(self, names):
        for name in names:
            if name not in self.members:
                self.to_infer[name] = 1
                self.barred.discard(name)
        self.members = set(names)
        self.tell(Dispatcher.set_members, sorted(names), self.now)

    def drain(self, name):
        self.barred.add(name)
        self.tell(Dispatcher.drain, name)
        assert all(replica.id != name for replica in self.dispatcher.serving), "11: a drained replica may get work"

    def undrain(self, name):
        if name in self.barred:
            self.to_infer[name] = 1
            self.barred.discard(name)
        self.tell(Dispatcher.undrain, name, self.now)

    def distrust(self, name):
        self.tell(Dispatcher.distrust, name, "moved")
        self.shaken(self.dispatcher.replicas[name])

    def doubt(self, name):
        replica = self.dispatcher.replicas[name]
        if replica.state in {ReplicaState.ACTIVE, ReplicaState.SUSPECT}:
            self.to_infer[name] = 1
        self.tell(Dispatcher.doubt, name, self.now)
        assert replica.state is not ReplicaState.ACTIVE

    def change_model(self):
        """Change the model, so that no replica with the former one serves."""
        self.model += 1
        serving = [
            name for name, replica in self.dispatcher.replicas.items() if replica.state is not ReplicaState.JOINING
        ]
        self.tell(Dispatcher.change_model, dict.fromkeys(serving, "it has the former model"), self.now)
        assert all(chunk.request not in self.open for chunk, _ in self.calls), (
            "answers of the former model are still awaited"
        )
        for name in serving:
            if name in self.dispatcher.replicas:
                self.shaken(self.dispatcher.replicas[name])

    def well_probed(self, name):
        self.probing.discard(name)
        self.to_infer[name] = max(0, self.to_infer[name] - 1)
        self.tell(Dispatcher.probed, name, "", self.now, ABILITIES, COST)
        replica = self.dispatcher.replicas.get(name)
        if replica is not None and name in self.members - self.barred:
            assert (replica.state is ReplicaState.ACTIVE) == (self.to_infer[name] == 0), (
                "10: the state does not follow from the good probes"
            )

    @rule()
    def all_infer(self):
        for _ in range(2):
            self.now += 5.0
            self.tick()
            for name in sorted(self.probing):
                self.well_probed(name)

    def badly_probed(self, name):
        replica = self.dispatcher.replicas[name]
        self.probing.discard(name)
        self.tell(Dispatcher.probed, name, "no answer", self.now)
        self.shaken(replica)

    def unprobed(self, name):
        replica = self.dispatcher.replicas[name]
        before = replica.state
        self.probing.discard(name)
        self.tell(Dispatcher.unprobed, name, self.now)
        assert replica.state in {before, ReplicaState.DRAINED}, "a replica was blamed although no probe reached it"

    def shaken(self, replica):
        """Record that an ejected replica has to infer twice, counted from now even if it was ejected before."""
        assert replica.state is not ReplicaState.ACTIVE
        if replica.state is ReplicaState.EJECTED:
            self.to_infer[replica.id] = 2
