"""What programs cost: counts, predictions and measurements, and modes compared."""
