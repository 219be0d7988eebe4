"""The Hugging Face Hub: where models come from that aren't folders yet."""
