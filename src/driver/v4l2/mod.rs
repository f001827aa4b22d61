//! V4L2 (Video for Linux): devices, their formats, sizes and controls, and their queues of buffers.
//!
//! [`ioctl`] has the system calls, and [`layout`] the structures of the kernel. Nothing else here is unsafe.

pub mod device;
pub mod ioctl;
pub mod layout;
pub mod queue;
