"""What the eye sees and the hand does: the app, its commands and its screens."""
