"""Online training: losses, their routing, the keyframe memory, the schedule, and the trainer that runs them."""
