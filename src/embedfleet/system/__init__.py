"""Limits and reports of the operating system, for every plane: open files, memory, control groups, standard streams."""
