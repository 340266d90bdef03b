"""Teacher-bias diagnostics: from the embeddings of a workspace to tables, verdicts and a report."""
