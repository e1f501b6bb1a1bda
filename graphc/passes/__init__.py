"""Passes: functions from graph to graph, run in one order."""
