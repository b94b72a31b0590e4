"""The results browser: every record and rendered table in one HTML file that needs no network."""
