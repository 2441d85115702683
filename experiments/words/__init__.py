"""Words from their context, with one body and the output layers of the library."""
