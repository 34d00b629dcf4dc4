"""Networks whose circuit is known exactly, for tools that look for circuits: export, record, patch."""
