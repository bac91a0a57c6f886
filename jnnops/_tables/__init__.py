"""Tables of rows: looking rows up and adding them, shards, and the ids that name rows."""
