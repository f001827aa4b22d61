//! How many files the process may have open: one for each connection.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than the connections of any limit that makes sense; a larger one would cost kernel memory.
const WANTED: u64 = 65_536;

/// Raises the soft limit as far as the hard one allows, up to [`WANTED`]. The default of many
/// systems, 1,024, is for programs that use `select`.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if current.is_some_and(|current| current < wanted) {
        let limit = Rlimit { current: Some(wanted), maximum };
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            log::debug!("the limit of open files stays {current:?}: {error}");
        }
    }
}
