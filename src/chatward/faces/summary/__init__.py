"""Roll-ups of scored chat: per player, match, hour and level. pyarrow reads the files, DuckDB counts, in memory that doesn't grow with the rows."""
