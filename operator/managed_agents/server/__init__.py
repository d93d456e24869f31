"""The API server: REST and SSE for clients, leases and slices for harnesses, summaries for the operator."""
