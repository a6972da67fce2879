"""Where services run. One driver a target; `rollout` is the same for all of them."""
