"""Networks in the core: their records, addresses and endpoints. What is done on the host, drivers do."""
