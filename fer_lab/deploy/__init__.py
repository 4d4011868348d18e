"""From a trained network to a small, proven file: export, quantisation, runtimes, parity, latency."""
