"""From results to eyes: tables and figures. Nothing here imports torch."""
