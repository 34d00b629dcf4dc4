"""Checks of every claim as runnable commands, the ledger, and the reports."""

from console.starting import answer_early_stops

answer_early_stops()
