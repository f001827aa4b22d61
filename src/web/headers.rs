//! The headers that every response of this server carries.

/// What the page may run, show and connect to (CSP 3), up to who may show the page.
macro_rules! policy {
    ($ancestors:literal) => {
        concat!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; ",
            "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; ",
            "frame-ancestors ",
            $ancestors
        )
    };
}

/// Sent with every response that does not set them itself: no other site may read or show it.
pub const COMMON_HEADERS: &[(&str, &str)] = &[
    ("Content-Security-Policy", policy!("'none'")),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
];

/// The Content-Security-Policy of a page that pages of these origins may show in a frame (CSP 3,
/// `frame-ancestors`).
pub(crate) fn policy_with_ancestors(ancestors: &str) -> String {
    format!("{}{ancestors}", policy!(""))
}
