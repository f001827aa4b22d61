//! The picture on its way to the viewers.

pub mod fan_out;
pub mod frame_clock;
pub mod group;
pub mod keyframes;
pub mod overload;
pub mod source;
