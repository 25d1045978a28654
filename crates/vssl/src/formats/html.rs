//! Escapes text for HTML and XML (SVG), so that no character of it becomes markup.

/// Returns `text` with `&`, `<`, `>` and `"` as entities, for the content of an element or for an attribute
/// between double quotes.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_has_no_markup_and_reads_back() {
        let text = "a < b && \"c\" > 'd' &amp;";
        let safe = escaped(text);
        assert!(!safe.contains(['<', '>', '"']), "{safe}");
        let back = safe.replace("&quot;", "\"").replace("&gt;", ">").replace("&lt;", "<");
        assert_eq!(back.replace("&amp;", "&"), text);
    }
}
