//! People at a device: at a desk, at a door, and while the gateway is away or loses answers.

mod by_hand;
mod desk;
mod door;
mod gateway;
mod list;
