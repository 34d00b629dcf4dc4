"""Checks of every claim as runnable commands, the ledger, and the reports."""
