//! The cameras of software in a guest (`usb_camera.py`).

use crate::guest::{Guest, Job};

/// The link that udev makes of what the camera says it is.
pub const LINK: &str = "/dev/v4l/by-id/usb-Ballcast_tests_Camera_of_software_0001-video-index0";

/// A camera at a port of the kernel's USB controller.
pub struct Camera {
    job: Job,
    pub fifo: String,
}

impl Camera {
    /// Plugs a camera in, with these modes, and waits until udev is done with it.
    pub fn plug(guest: &mut Guest, modes: &[&str]) -> Camera {
        let camera = Camera::start(guest, 0, modes);
        guest.run(&format!("until [ -e {LINK} ]; do sleep 0.1; done; udevadm settle"));
        camera
    }

    /// Plugs a camera in at this port, with modes and options.
    pub fn start(guest: &mut Guest, port: usize, words: &[&str]) -> Camera {
        guest.run("modprobe vhci_hcd && modprobe uvcvideo");
        let fifo = format!("/run/camera{port}");
        let words = words.join(" ");
        let job = guest
            .start(&format!("python3 /share/usb_camera.py --fifo {fifo} --port {port} {words}"));
        job.wait_for_output("plugged in");
        Camera { job, fifo }
    }

    /// Writes a line to the camera: see `usb_camera.py`.
    pub fn tell(&self, guest: &mut Guest, line: &str) {
        guest.run(&format!("echo {line} >{}", self.fifo));
    }

    /// What it has been told, by a line or by the kernel.
    pub fn log(&self) -> String {
        self.job.output()
    }

    /// Pulls the camera out, for good.
    pub fn end(&self, guest: &mut Guest) {
        guest.end(&self.job);
        guest.run("udevadm settle");
    }
}
