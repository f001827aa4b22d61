//! The structures of V4L2 (Video for Linux, `linux/videodev2.h`), and the numbers of its ioctls.
//!
//! They have the layout of x86-64, AArch64, and ARMv7 with 64-bit time, which is checked here. No other
//! architecture is supported.

use rustix::ioctl::{Opcode, opcode};

/// `enum v4l2_buf_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum BufferType {
    Capture = 1,
    Output = 2,
    /// Of several planes, each in a buffer of its own.
    CaptureMplane = 9,
    OutputMplane = 10,
}

impl BufferType {
    pub fn is_mplane(self) -> bool {
        matches!(self, BufferType::CaptureMplane | BufferType::OutputMplane)
    }
}

/// `V4L2_MEMORY_MMAP`.
pub const MEMORY_MMAP: u32 = 1;
/// `V4L2_FIELD_NONE`: progressive.
pub const FIELD_NONE: u32 = 1;
/// `VIDEO_MAX_PLANES`.
pub const PLANES_MAX: usize = 8;

/// `struct v4l2_capability`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Capability {
    pub driver: [u8; 16],
    pub card: [u8; 32],
    pub bus_info: [u8; 32],
    pub version: u32,
    pub capabilities: u32,
    pub device_caps: u32,
    pub reserved: [u32; 3],
}

/// `struct v4l2_fmtdesc`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FormatDescription {
    pub index: u32,
    pub kind: u32,
    pub flags: u32,
    pub description: [u8; 32],
    pub pixel_format: u32,
    pub mbus_code: u32,
    pub reserved: [u32; 3],
}

/// `struct v4l2_frmsizeenum`. Of discrete sizes, the first two numbers are width and height; of others, the
/// least, most and step of the width, then of the height.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FrameSize {
    pub index: u32,
    pub pixel_format: u32,
    /// 1 is discrete, 2 continuous, 3 stepwise.
    pub kind: u32,
    pub numbers: [u32; 6],
    pub reserved: [u32; 2],
}

/// `struct v4l2_frmivalenum`. Of discrete intervals, the first two numbers are numerator and denominator, in
/// seconds; of others, those of the shortest, the longest and the step.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FrameInterval {
    pub index: u32,
    pub pixel_format: u32,
    pub width: u32,
    pub height: u32,
    /// 1 is discrete, 2 continuous, 3 stepwise.
    pub kind: u32,
    pub numbers: [u32; 6],
    pub reserved: [u32; 2],
}

/// `struct v4l2_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct PixFormat {
    pub width: u32,
    pub height: u32,
    pub pixel_format: u32,
    pub field: u32,
    pub line_bytes: u32,
    pub image_bytes: u32,
    pub colorspace: u32,
    pub private: u32,
    pub flags: u32,
    pub ycbcr_encoding: u32,
    pub quantization: u32,
    pub transfer: u32,
}

/// `struct v4l2_plane_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct PlaneFormat {
    pub image_bytes: u32,
    pub line_bytes: u32,
    pub reserved: [u16; 6],
}

/// `struct v4l2_pix_format_mplane`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct PixFormatMplane {
    pub width: u32,
    pub height: u32,
    pub pixel_format: u32,
    pub field: u32,
    pub colorspace: u32,
    pub planes: [PlaneFormat; PLANES_MAX],
    pub plane_count: u8,
    pub flags: u8,
    pub ycbcr_encoding: u8,
    pub quantization: u8,
    pub transfer: u8,
    pub reserved: [u8; 7],
}

#[repr(C)]
pub union FormatOfType {
    pub single: PixFormat,
    pub multi: PixFormatMplane,
    pub raw: [u8; 200],
    /// Another member contains pointers.
    pub aligned: usize,
}

/// `struct v4l2_format`.
#[repr(C)]
pub struct RawFormat {
    pub kind: u32,
    pub of_type: FormatOfType,
}

/// `struct v4l2_streamparm`, with `struct v4l2_captureparm` or `struct v4l2_outputparm`, which are alike.
#[repr(C)]
pub struct StreamParameters {
    pub kind: u32,
    pub capability: u32,
    pub mode: u32,
    /// Numerator and denominator of the seconds from one frame to the next.
    pub interval: [u32; 2],
    pub rest: [u32; 46],
}

/// `struct v4l2_requestbuffers`.
#[repr(C)]
pub struct RequestBuffers {
    pub count: u32,
    pub kind: u32,
    pub memory: u32,
    pub capabilities: u32,
    pub flags: u8,
    pub reserved: [u8; 3],
}

/// `struct v4l2_buffer`, with 64-bit time.
#[repr(C)]
#[derive(Default)]
pub struct Buffer {
    pub index: u32,
    pub kind: u32,
    pub bytes_used: u32,
    pub flags: u32,
    pub field: u32,
    pub seconds: i64,
    pub microseconds: i64,
    pub timecode: [u32; 4],
    pub sequence: u32,
    pub memory: u32,
    /// An offset, or the address of the planes.
    pub place: usize,
    pub length: u32,
    pub reserved: u32,
    pub request: u32,
}

/// `struct v4l2_plane`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Plane {
    pub bytes_used: u32,
    pub length: u32,
    pub offset: usize,
    pub data_offset: u32,
    pub reserved: [u32; 11],
}

/// `struct v4l2_query_ext_ctrl`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ControlDescription {
    pub id: u32,
    pub kind: u32,
    pub name: [u8; 32],
    pub least: i64,
    pub most: i64,
    pub step: u64,
    pub default: i64,
    pub flags: u32,
    pub element_bytes: u32,
    pub elements: u32,
    pub dimensions: u32,
    pub dims: [u32; 4],
    pub reserved: [u32; 32],
}

/// `struct v4l2_querymenu`.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Menu {
    pub id: u32,
    pub index: u32,
    pub name: [u8; 32],
    pub reserved: u32,
}

/// `struct v4l2_ext_control`.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct ExtControl {
    pub id: u32,
    pub size: u32,
    pub reserved: u32,
    pub value: i64,
}

/// `struct v4l2_ext_controls`.
#[repr(C)]
pub struct ExtControls {
    pub which: u32,
    pub count: u32,
    pub error_index: u32,
    pub request: u32,
    pub reserved: u32,
    pub controls: *mut ExtControl,
}

const IS_64_BIT: bool = size_of::<usize>() == 8;
const _: () = {
    assert!(size_of::<Capability>() == 104);
    assert!(size_of::<FormatDescription>() == 64);
    assert!(size_of::<FrameSize>() == 44);
    assert!(size_of::<FrameInterval>() == 52);
    assert!(size_of::<PixFormat>() == 48);
    assert!(size_of::<PixFormatMplane>() == 192);
    assert!(size_of::<RawFormat>() == if IS_64_BIT { 208 } else { 204 });
    assert!(std::mem::offset_of!(RawFormat, of_type) == size_of::<usize>());
    assert!(size_of::<StreamParameters>() == 204);
    assert!(size_of::<RequestBuffers>() == 20);
    assert!(size_of::<Buffer>() == if IS_64_BIT { 88 } else { 80 });
    assert!(std::mem::offset_of!(Buffer, seconds) == 24);
    assert!(std::mem::offset_of!(Buffer, sequence) == 56);
    assert!(std::mem::offset_of!(Buffer, place) == 64);
    assert!(std::mem::offset_of!(Buffer, length) == if IS_64_BIT { 72 } else { 68 });
    assert!(size_of::<Plane>() == if IS_64_BIT { 64 } else { 60 });
    assert!(size_of::<ControlDescription>() == 232);
    assert!(size_of::<Menu>() == 44);
    assert!(size_of::<ExtControl>() == 20);
    assert!(size_of::<ExtControls>() == if IS_64_BIT { 32 } else { 24 });
};

pub const QUERYCAP: Opcode = opcode::read::<Capability>(b'V', 0);
pub const ENUM_FMT: Opcode = opcode::read_write::<FormatDescription>(b'V', 2);
pub const G_FMT: Opcode = opcode::read_write::<RawFormat>(b'V', 4);
pub const S_FMT: Opcode = opcode::read_write::<RawFormat>(b'V', 5);
pub const REQBUFS: Opcode = opcode::read_write::<RequestBuffers>(b'V', 8);
pub const QUERYBUF: Opcode = opcode::read_write::<Buffer>(b'V', 9);
pub const QBUF: Opcode = opcode::read_write::<Buffer>(b'V', 15);
pub const DQBUF: Opcode = opcode::read_write::<Buffer>(b'V', 17);
pub const STREAMON: Opcode = opcode::write::<u32>(b'V', 18);
pub const S_PARM: Opcode = opcode::read_write::<StreamParameters>(b'V', 22);
pub const QUERYMENU: Opcode = opcode::read_write::<Menu>(b'V', 37);
pub const G_EXT_CTRLS: Opcode = opcode::read_write::<ExtControls>(b'V', 71);
pub const S_EXT_CTRLS: Opcode = opcode::read_write::<ExtControls>(b'V', 72);
pub const ENUM_FRAMESIZES: Opcode = opcode::read_write::<FrameSize>(b'V', 74);
pub const ENUM_FRAMEINTERVALS: Opcode = opcode::read_write::<FrameInterval>(b'V', 75);
pub const QUERY_EXT_CTRL: Opcode = opcode::read_write::<ControlDescription>(b'V', 103);

#[cfg(test)]
mod tests {
    use super::*;

    /// As `strace` prints them, and as the kernel's header makes them.
    #[test]
    fn ioctls_have_the_numbers_of_the_kernel() {
        let (format, buffer, controls) =
            if IS_64_BIT { (0xd0, 0x58, 0x20) } else { (0xcc, 0x50, 0x18) };
        for (code, number) in [
            (QUERYCAP, 0x8068_5600_u32),
            (ENUM_FMT, 0xc040_5602),
            (G_FMT, 0xc000_5604 | format << 16),
            (S_FMT, 0xc000_5605 | format << 16),
            (REQBUFS, 0xc014_5608),
            (QUERYBUF, 0xc000_5609 | buffer << 16),
            (QBUF, 0xc000_560f | buffer << 16),
            (DQBUF, 0xc000_5611 | buffer << 16),
            (STREAMON, 0x4004_5612),
            (S_PARM, 0xc0cc_5616),
            (QUERYMENU, 0xc02c_5625),
            (G_EXT_CTRLS, 0xc000_5647 | controls << 16),
            (S_EXT_CTRLS, 0xc000_5648 | controls << 16),
            (ENUM_FRAMESIZES, 0xc02c_564a),
            (ENUM_FRAMEINTERVALS, 0xc034_564b),
            (QUERY_EXT_CTRL, 0xc0e8_5667),
        ] {
            assert_eq!(code, number, "{number:x}");
        }
    }
}
