"""From a model folder to the Hub: what is uploaded, its card, and whether it may be."""
