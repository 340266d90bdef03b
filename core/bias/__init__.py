"""What an encoder carries beside content, and whether it makes another's mistakes.

Functions on arrays of embeddings, labels and predictions; no models, no storage, no torch.
"""
