"""SQL of `provisionings`, the ledger: `insert`, `leases`, `steps`, and what people and gauges see."""
