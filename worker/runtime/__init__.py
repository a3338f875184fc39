"""Builds everything from `Settings`, starts it, drains it: the one composition root, which tests use too.

process     one process from start to exit
signals     what asks a process to end
profiles    the main job's parts, put together
operations  what the commands for people work with
checking    what can be told of settings before anything is connected to
setup       what must exist before a process starts
"""
