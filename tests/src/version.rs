//! Versions as programs print them. Pure.

use std::fmt;

/// `major.minor.patch` of a program; a suffix such as `-dispatcher` or `+vendor` is not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number; 0 where the program leaves it out.
    pub patch: u32,
}

impl Version {
    /// The version `major.minor.patch`.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `v1.35.4`, `go1.26`, `1.26rc1`, `v4.1.4+gabc`: what follows the numbers is ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("go").or_else(|| text.strip_prefix('v')).unwrap_or(text);
        let mut parts = text.splitn(3, '.');
        let major = whole(parts.next()?)?;
        let (minor, ended) = leading(parts.next()?)?;
        let patch = if ended { 0 } else { parts.next().and_then(leading).map_or(0, |(patch, _)| patch) };
        Some(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

fn whole(text: &str) -> Option<u32> {
    text.parse().ok()
}

/// The number a text starts with, and whether anything follows it.
fn leading(text: &str) -> Option<(u32, bool)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((whole(&text[..digits])?, digits < text.len()))
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn reads_what_programs_print() {
        for (text, expected) in [
            ("v1.35.4", Some(Version::new(1, 35, 4))),
            ("v1.32.4-dispatcher", Some(Version::new(1, 32, 4))),
            ("v4.1.4+g1234567", Some(Version::new(4, 1, 4))),
            ("go1.26.8\n", Some(Version::new(1, 26, 8))),
            ("go1.26", Some(Version::new(1, 26, 0))),
            ("1.26rc1", Some(Version::new(1, 26, 0))),
            ("v3.16", Some(Version::new(3, 16, 0))),
            ("devel", None),
            ("", None),
            ("v4", None),
        ] {
            assert_eq!(Version::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn orders_by_number_and_not_by_text() {
        assert!(Version::new(1, 9, 0) < Version::new(1, 32, 0));
        assert!(Version::new(3, 19, 4) < Version::new(4, 0, 0));
    }
}
