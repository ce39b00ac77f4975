"""The node service: what keeps one machine in the cluster, through restarts, until it is asked to leave."""
