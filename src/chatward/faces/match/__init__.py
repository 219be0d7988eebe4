"""Match reports: who said what when in a Dota 2 match, and what the model says of it."""
