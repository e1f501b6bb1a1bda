"""What users call: operators, NumPy's protocols, composite functions."""
