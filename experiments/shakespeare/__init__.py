"""A character or word language model: a GPT with any attention normaliser and output loss."""
