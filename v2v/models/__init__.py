"""The networks: video transformer, autoencoder, text encoder, LoRA."""
