"""The life of a child: its states, when it counts as hung, what is done next. Pure."""
