"""Rows in and scored rows out: CSV, JSONL and Parquet files of any size, in constant memory.

    formats.open_reader ─▶ blocks of rows ─▶ scoring.score_rows ─▶ formats.open_writer
                                │                                        │
                             rejects ─────────▶ outputs.Outputs ◀────────┘

`rows` holds what the formats share, `lines` reads physical lines, and each of `csv_rows`,
`jsonl_rows` and `parquet_rows` has one reader and one writer.
"""
