"""What every check shares: records, pictures of the ledger, tables of a person's own, exact evaluation."""
