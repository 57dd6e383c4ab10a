"""Features and reconstructions in bulk, as Apache Beam pipelines (the extra `beam`)."""
