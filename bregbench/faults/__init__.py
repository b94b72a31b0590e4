"""The fault campaign: runs are killed, files damaged, commands meet, and what comes of it is counted."""
