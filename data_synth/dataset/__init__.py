"""Sets on disk: requests, shards, Beam, reports and previews."""
