"""Networks that learned metrics use."""
