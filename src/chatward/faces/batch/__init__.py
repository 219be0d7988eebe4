"""Jobs: many files, or large ones, scored part by part, on this machine or on a Ray cluster.

    source ─▶ plan ─▶ parts ─▶ an engine's workers ─▶ store ─▶ finished: OUT, with a manifest

A part is a file, or a run of a large one's rows. Its output appears whole, then its record; a job that was killed goes on with the parts that have none.
"""
