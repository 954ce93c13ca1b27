"""From files to arrays, on the host: the only folder with pandas and scikit-learn."""
