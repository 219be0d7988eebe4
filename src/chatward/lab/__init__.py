"""Where models meet labelled rows: evaluate, compare, audit."""
