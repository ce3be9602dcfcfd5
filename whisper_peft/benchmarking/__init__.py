"""Ours beside what people run today: the same rows, adapter and epochs, in alternating processes.

The reference is a script, `tests/benchmarks/padded_reference.py`, shipped in the wheel as the recipes are: it
stays readable as the program that people have, nothing of the package can import it, and its process loads no
code of ours but the form of task and result. The rest is a room of its own above `pipeline`, since it runs
what every other room does.
"""
