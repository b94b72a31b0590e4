"""What each paper brings to the bench; nothing outside this folder but the registry imports it."""
