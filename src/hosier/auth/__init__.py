"""The deciding half of each authentication method: who is it, and do we believe that."""
