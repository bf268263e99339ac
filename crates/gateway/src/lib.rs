//! The data plane: terminates connections, balances, probes, drains, measures.
