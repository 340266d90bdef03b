"""Workspaces: one folder that holds everything about one collection.

Every table is declared, written, migrated and deleted from here, and nowhere else.

- ``workspace``: the class that everybody opens and reads; ``contents``, ``roles``, ``clip_vectors``
  and ``segment_audio`` answer what is read often.
- ``schema`` declares the tables, ``creation`` makes them, ``migrations`` brings older files up to
  date, ``deletion`` removes encoders, clips and diagnoses. ``rows`` writes and reads typed rows,
  whose SQL types ``row_types`` takes from a dataclass.
- ``importing``, ``clips_without_audio`` and ``importing_embeddings`` fill a workspace from files,
  which ``sources``, ``table_file``, ``task_file`` and ``vectors_file`` read; ``exporting`` writes
  files.
- ``spaces`` and ``vector_tables`` keep vectors; ``tasks``, ``distillation``, ``failures``,
  ``scores``, ``similarity_tables``, ``diagnosis_tables``, ``projection_tables`` and
  ``index_records`` one group of tables each.
- ``database`` opens the file for one piece of work, ``turns`` and ``leftovers`` keep processes
  apart and clear up after killed ones, ``query`` answers what people ask in SQL.
"""
