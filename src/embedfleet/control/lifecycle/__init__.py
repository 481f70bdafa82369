"""Life of a child, pure: its phases, when it counts as hung, what to do next, what a failed start leaves."""
