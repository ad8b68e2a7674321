//! A two-wire bus in memory: what one end sends, the other end hears, if both go at the same speed.
//!
//! libosdp never frees what it is given to speak through. So its channels here hold nothing, and the bus is the one of the thread
//! that they are used on.

use std::cell::RefCell;
use std::collections::VecDeque;

use libosdp::{Channel, ChannelError};

thread_local! {
    static BUS: RefCell<Bus> = RefCell::default();
}

/// What is on the wires, and what went over them.
#[derive(Debug, Default)]
struct Bus {
    to_reader: VecDeque<u8>,
    to_panel: VecDeque<u8>,
    same_speed: bool,
    traffic: Traffic,
}

/// What went over a bus so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Messages of the panel.
    pub(super) calls: u32,
    /// Messages of the reader.
    pub(super) answers: u32,
}

/// Begins with empty wires.
pub(super) fn begin(same_speed: bool) {
    BUS.set(Bus { same_speed, ..Bus::default() });
}

/// What went over the bus since it began.
pub(super) fn traffic() -> Traffic {
    BUS.with_borrow(|bus| bus.traffic)
}

/// The panel's end.
pub(super) struct PanelEnd;

/// The reader's end.
pub(super) struct ReaderEnd;

/// Takes as much as there is, or as there is room for.
fn take(wire: &mut VecDeque<u8>, room: &mut [u8]) -> usize {
    let taken = wire.len().min(room.len());
    for (place, byte) in room.iter_mut().zip(wire.drain(..taken)) {
        *place = byte;
    }
    taken
}

impl Bus {
    /// What arrives of a byte: at another speed the bits are sampled in the wrong places.
    fn heard(&self, byte: u8) -> u8 {
        if self.same_speed { byte } else { byte.rotate_left(3) ^ 0x5a }
    }
}

impl Channel for PanelEnd {
    fn get_id(&self) -> i32 {
        0
    }

    fn read(&mut self, room: &mut [u8]) -> Result<usize, ChannelError> {
        Ok(BUS.with_borrow_mut(|bus| take(&mut bus.to_panel, room)))
    }

    fn write(&mut self, message: &[u8]) -> Result<usize, ChannelError> {
        BUS.with_borrow_mut(|bus| {
            bus.traffic.calls += 1;
            let heard: Vec<u8> = message.iter().map(|byte| bus.heard(*byte)).collect();
            bus.to_reader.extend(heard);
        });
        Ok(message.len())
    }

    fn flush(&mut self) -> Result<(), ChannelError> {
        BUS.with_borrow_mut(|bus| bus.to_panel.clear());
        Ok(())
    }

    fn close(&mut self) -> Result<(), ChannelError> {
        Ok(())
    }
}

impl Channel for ReaderEnd {
    fn get_id(&self) -> i32 {
        1
    }

    fn read(&mut self, room: &mut [u8]) -> Result<usize, ChannelError> {
        Ok(BUS.with_borrow_mut(|bus| take(&mut bus.to_reader, room)))
    }

    fn write(&mut self, message: &[u8]) -> Result<usize, ChannelError> {
        BUS.with_borrow_mut(|bus| {
            bus.traffic.answers += 1;
            let heard: Vec<u8> = message.iter().map(|byte| bus.heard(*byte)).collect();
            bus.to_panel.extend(heard);
        });
        Ok(message.len())
    }

    fn flush(&mut self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), ChannelError> {
        Ok(())
    }
}
