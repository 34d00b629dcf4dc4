"""The ledger of every claim: the command behind `python -m verify`."""
