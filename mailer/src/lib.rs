//! Tells users by mail what their events call for: the events of the log are its only input.
