//! URLs, and what a reference makes of them.

use super::*;

#[test]
fn urls_display_as_they_are_requested() {
    let rows = [
        ("http://camera", "http://camera/", 80),
        ("http://camera/", "http://camera/", 80),
        ("HTTP://Camera:8889/Live/WHIP", "http://camera:8889/Live/WHIP", 8889),
        ("http://camera:/whip", "http://camera/whip", 80),
        ("http://camera:80/whip", "http://camera:80/whip", 80),
        ("http://192.0.2.1:8889/whip", "http://192.0.2.1:8889/whip", 8889),
        ("http://[2001:DB8::0:1]:8889/whip", "http://[2001:db8::1]:8889/whip", 8889),
        ("http://camera?key=a/b?c", "http://camera/?key=a/b?c", 80),
        ("http://camera/a?", "http://camera/a?", 80),
        ("http://camera/a?b#c", "http://camera/a?b", 80),
        ("http://camera#a?b#c", "http://camera/", 80),
        ("http://camera/a/../%2e./b//", "http://camera/a/../%2e./b//", 80),
        ("http://camera/user@host:1", "http://camera/user@host:1", 80),
    ];
    for (text, displayed, port) in rows {
        let url = url(text);
        assert_eq!((url.to_string().as_str(), url.port()), (displayed, port), "{text}");
        assert_eq!(Url::parse(displayed), Ok(url), "{text}");
    }
}

#[test]
fn urls_that_are_refused() {
    use UrlError::*;
    let rows = [
        ("", Scheme),
        ("camera", Scheme),
        ("camera:8889/whip", Scheme),
        ("/whip", Scheme),
        ("//camera/whip", Scheme),
        ("http:/camera/whip", Scheme),
        ("http:camera", Scheme),
        ("https", Scheme),
        ("whip://camera/", Scheme),
        ("1http://camera/", Scheme),
        ("https://camera/whip", Https),
        ("HTTPS://camera/whip", Https),
        ("http://", Authority),
        ("http:///whip", Authority),
        ("http://:80/", Authority),
        ("http://user@camera/", Authority),
        ("http://user:password@camera/", Authority),
        ("http://camera:65536/", Authority),
        ("http://camera:-1/", Authority),
        ("http://[::1/", Authority),
        ("http://[fe80::1%eth0]/", Authority),
        ("http://a%20b/", Authority),
        ("http://camera/a b", Characters),
        (" http://camera/", Characters),
        ("http://camera/\r\nHost: a", Characters),
        ("http://kamera.würzburg/", Characters),
        ("http://camera/#ü", Characters),
        ("http://camera/\u{7f}", Characters),
    ];
    for (text, error) in rows {
        assert_eq!(Url::parse(text), Err(error), "{text}");
    }
}

#[test]
fn a_url_has_a_longest_length() {
    let longest = format!("http://camera/{}", "p".repeat(TARGET_MAX_BYTES - 14));
    let base = url(&longest);
    assert_eq!(Url::parse(&format!("{longest}#fragment")), Ok(base.clone()));
    assert_eq!(Url::parse(&format!("{longest}p")), Err(UrlError::TooLong));
    assert_eq!(base.join("?"), Err(UrlError::TooLong));
    // The slash of an empty path counts, and so does a zero that an IPv6 address gains.
    for (start, gains) in [("http://camera?", 1), ("http://[1::2:3:4:5:6:7]/", 1)] {
        let fits = format!("{start}{}", "p".repeat(TARGET_MAX_BYTES - start.len() - gains));
        assert_eq!(Url::parse(&url(&fits).to_string()), Ok(url(&fits)));
        assert_eq!(Url::parse(&format!("{fits}p")), Err(UrlError::TooLong), "{start}");
    }
}

/// RFC 3986 sections 5.4.1 and 5.4.2, without what is not `http`, parameters that are nothing special
/// and fragments, which are cut off.
#[test]
fn references_of_rfc_3986_are_joined() {
    let base = url("http://a/b/c/d;p?q");
    let rows = [
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g/"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q"),
        ("g#s", "http://a/b/c/g"),
        ("g?y#s", "http://a/b/c/g?y"),
        (";x", "http://a/b/c/;x"),
        ("g;x", "http://a/b/c/g;x"),
        ("g;x?y#s", "http://a/b/c/g;x?y"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("../../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        (".g", "http://a/b/c/.g"),
        ("g..", "http://a/b/c/g.."),
        ("..g", "http://a/b/c/..g"),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/./h", "http://a/b/c/g/h"),
        ("g/../h", "http://a/b/c/h"),
        ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
        ("g;x=1/../y", "http://a/b/c/y"),
        ("g?y/./x", "http://a/b/c/g?y/./x"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
        ("g#s/../x", "http://a/b/c/g"),
    ];
    for (reference, joined) in rows {
        assert_eq!(
            base.join(reference).map(|url| url.to_string()),
            Ok(joined.into()),
            "{reference}"
        );
    }
}

#[test]
fn locations_of_media_servers_are_joined() {
    let base = url("http://camera:8889/live/whip?token=a/b");
    let rows = [
        ("/live/whip/8f2a", Ok("http://camera:8889/live/whip/8f2a")),
        ("whip/8f2a", Ok("http://camera:8889/live/whip/8f2a")),
        ("http://camera:8889/live/whip/8f2a", Ok("http://camera:8889/live/whip/8f2a")),
        ("HTTP://other/a/../b/.", Ok("http://other/b/")),
        ("http://other?a", Ok("http://other/?a")),
        ("//other:1/a/./b?c/../d", Ok("http://other:1/a/b?c/../d")),
        ("?a=1", Ok("http://camera:8889/live/whip?a=1")),
        ("/a:b", Ok("http://camera:8889/a:b")),
        ("a/b:c", Ok("http://camera:8889/live/a/b:c")),
        (".//a//../b", Ok("http://camera:8889/live//a/b")),
        ("/.//a", Ok("http://camera:8889//a")),
        ("https://camera/live", Err(UrlError::Https)),
        ("http:live", Err(UrlError::Scheme)),
        ("urn:uuid:8f2a", Err(UrlError::Scheme)),
        ("//user@other/", Err(UrlError::Authority)),
        ("///a", Err(UrlError::Authority)),
        ("/a b", Err(UrlError::Characters)),
    ];
    for (reference, joined) in rows {
        let joined = joined.map(String::from);
        assert_eq!(base.join(reference).map(|url| url.to_string()), joined, "{reference}");
    }
}
