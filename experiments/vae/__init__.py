"""A variational autoencoder with categorical codes, trained by estimators of its gradient."""
