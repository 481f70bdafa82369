"""Virtual time: the dispatcher that serves, and its rivals, in front of modelled replicas."""
