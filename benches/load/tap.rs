//! A wrapper of str0m's DTLS that copies the SRTP keys. The load generator decrypts media itself, which
//! needs a fraction of the CPU time of a receiving `Rtc`.

use std::cell::RefCell;
use std::time::Instant;

use str0m::config::DtlsCert;
use str0m::crypto::dtls::{
    DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
    SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider};

/// The keying material of a handshake (RFC 5764, section 4.2).
pub struct Keying {
    pub material: Vec<u8>,
    pub profile: SrtpProfile,
    /// Whether our side is the DTLS client, whose keys come first.
    pub is_client: bool,
}

thread_local! {
    static LAST: RefCell<Option<Keying>> = const { RefCell::new(None) };
}

/// Installs the wrapper for every `Rtc` that this process creates from now on.
pub fn install() {
    let real = str0m::crypto::from_feature_flags();
    let tap = Box::leak(Box::new(Tap { real: real.dtls_provider }));
    CryptoProvider { dtls_provider: tap, ..real }.install_process_default();
}

/// The keys of the handshake that completed on this thread since the last call.
pub fn take() -> Option<Keying> {
    LAST.take()
}

#[derive(Debug)]
struct Tap {
    real: &'static dyn DtlsProvider,
}

impl DtlsProvider for Tap {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        self.real.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let real = self.real.new_dtls(cert, now, version, mtu)?;
        Ok(Box::new(TappedInstance { real }))
    }
}

#[derive(Debug)]
struct TappedInstance {
    real: Box<dyn DtlsInstance>,
}

impl DtlsInstance for TappedInstance {
    fn set_active(&mut self, active: bool) {
        self.real.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.real.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let is_client = self.real.is_active();
        let output = self.real.poll_output(buf);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            let (material, profile) = (material.to_vec(), *profile);
            LAST.set(Some(Keying { material, profile, is_client }));
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.real.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.real.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.real.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.real.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.real.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.real.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.real.close()
    }
}
