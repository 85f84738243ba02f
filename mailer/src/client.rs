use std::net::IpAddr;

use storage::Metadata;

/// Words of a `User-Agent` that name a browser or program, the more telling ones first, and what people call it.
const PROGRAMS: [(&str, &str); 9] = [
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
];

/// The same for systems.
const SYSTEMS: [(&str, &str); 7] = [
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
];

/// From where a command came, in words of our own: `Firefox on Linux, at 192.0.2.7`. `None` if nothing is known of it.
///
/// A `User-Agent` is whatever its sender wants it to be, who may be a stranger to the reader of the mail: it is looked
/// at and never quoted, and an address that is none is not shown.
pub(crate) fn origin(of: &Metadata) -> Option<String> {
    let agent = of.agent.as_deref().unwrap_or_default();
    let named = |words: &[(&str, &'static str)]| {
        words.iter().find(|(word, _)| agent.contains(word)).map(|(_, name)| *name)
    };
    let client = match (named(&PROGRAMS), named(&SYSTEMS)) {
        (Some(program), Some(system)) => Some(format!("{program} on {system}")),
        (Some(program), None) => Some(program.to_owned()),
        (None, system) => system.map(str::to_owned),
    };
    let address = of.address.as_deref().and_then(|address| address.parse::<IpAddr>().ok());
    match (client, address) {
        (Some(client), Some(address)) => Some(format!("{client}, at {address}")),
        (Some(client), None) => Some(client),
        (None, address) => address.map(|address| address.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use storage::Metadata;

    use super::origin;

    fn of(agent: Option<&str>, address: Option<&str>) -> Option<String> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        origin(&Metadata { command: String::new(), address: owned(address), agent: owned(agent) })
    }

    #[test]
    fn a_client_is_named_in_our_own_words_and_never_quoted() {
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
        assert_eq!(of(Some(firefox), Some("192.0.2.7")).as_deref(), Some("Firefox on Linux, at 192.0.2.7"));
        let edge = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                    Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0";
        assert_eq!(of(Some(edge), None).as_deref(), Some("Edge on Windows"));
        let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
                     Gecko) Version/17.5 Mobile/15E148 Safari/604.1";
        assert_eq!(
            of(Some(phone), Some("2001:db8::7")).as_deref(),
            Some("Safari on an iPhone, at 2001:db8::7")
        );
        assert_eq!(of(Some("curl/8.5.0"), None).as_deref(), Some("curl"));
        let lure = "You have won, see https://evil.example";
        assert_eq!(of(Some(lure), Some("evil.example")), None);
        assert_eq!(of(None, None), None);
    }
}
