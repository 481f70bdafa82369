"""Interfaces to the operating system for every plane: open files, memory, control groups, standard streams."""
