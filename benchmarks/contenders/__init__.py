"""One file for each contender; each serves the protocol, and knows nothing of the others."""
