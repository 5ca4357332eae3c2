"""Doing: run a plan chunk after chunk. Knows steps and ports, never asyncssh, never a widget."""
