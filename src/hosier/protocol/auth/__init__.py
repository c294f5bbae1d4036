"""The frames of each authentication method: what they look like, not what they mean."""
