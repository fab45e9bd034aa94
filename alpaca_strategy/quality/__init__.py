"""The audit between writing and publishing: expectations, the gate, the report."""
