"""Action selection on the k-armed testbed of Sutton and Barto."""
