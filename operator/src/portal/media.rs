//! Pure: which form of a code a request accepts (RFC 9110, 12.5.1).

/// The forms of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `image/png`.
    Picture,
    /// `text/plain`.
    Text,
}

/// The form that a request wants more; the picture when it does not care.
pub(super) fn wanted(accept: Option<&str>) -> Form {
    let Some(accept) = accept else { return Form::Picture };
    if weight(accept, "text", "plain") > weight(accept, "image", "png") { Form::Text } else { Form::Picture }
}

/// The weight of a media type in thousandths; the most specific range that fits it counts.
fn weight(accept: &str, kind: &str, subtype: &str) -> u32 {
    let exact = format!("{kind}/{subtype}");
    let fitting = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next()?.to_ascii_lowercase();
        let specificity = if name == exact {
            2
        } else if name == format!("{kind}/*") {
            1
        } else if name == "*/*" {
            0
        } else {
            return None;
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.trim().parse::<f64>().ok()).unwrap_or(1.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
        Some((specificity, (weight.clamp(0.0, 1.0) * 1000.0) as u32))
    });
    fitting.max_by_key(|(specificity, _)| *specificity).map_or(0, |(_, weight)| weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_given_only_to_who_prefers_it() {
        for (accept, form) in [
            (None, Form::Picture),
            (Some("*/*"), Form::Picture),
            (Some("image/png"), Form::Picture),
            (Some("text/plain"), Form::Text),
            (Some("TEXT/PLAIN; charset=utf-8"), Form::Text),
            (Some("text/plain;q=0.5, image/png"), Form::Picture),
            (Some("text/plain, */*;q=0.1"), Form::Text),
            (Some("text/*, image/png;q=0.2"), Form::Text),
            (Some("text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8"), Form::Picture),
            (Some(";;;q=,,"), Form::Picture),
        ] {
            assert_eq!(wanted(accept), form, "{accept:?}");
        }
    }
}
